/**
 * Draws screens of a terminal as an SVG that plays them, one after the other: no scripts, no fonts of its own. Where
 * nothing moves (paper, a reader who wants no motion) the last screen stands still.
 *
 * @module
 */

/** What is on a screen, with the terminal's escapes for colours, and for how long it is shown. */
export interface Screen {
  /** Lines, as `tmux capture-pane -e` gives them. */
  readonly text: string;
  /** In milliseconds. */
  readonly duration: number;
}

/** How a picture is made. */
export interface PictureOptions {
  /** The text of the title bar. */
  title: string;
  /** The size of the terminal, in characters. */
  columns: number;
  rows: number;
}

interface Style {
  colour: number | undefined;
  bold: boolean;
  dim: boolean;
}

interface Run extends Style {
  readonly text: string;
  readonly at: number;
}

const CELL = { width: 8.4, height: 19 };
const SIZE = 14;
const BAR = 34;
const MARGIN = 16;

/** The sixteen colours, on a dark ground. */
const COLOURS = (
  "#484f58 #ff7b72 #7ee787 #e3b341 #79c0ff #d2a8ff #76e3ea #c9d1d9 " +
  "#8b949e #ffa198 #aff5b4 #f2cc60 #a5d6ff #e2c5ff #b3f0ff #f0f6fc"
).split(" ");

/** The SVG of these screens. */
export function picture(screens: readonly Screen[], options: PictureOptions): string {
  const { title, columns, rows } = options;
  const width = Math.ceil(columns * CELL.width + 2 * MARGIN);
  const height = Math.ceil(BAR + rows * CELL.height + 2 * MARGIN);
  const whole = screens.reduce((sum, { duration }) => sum + duration, 0);
  const last = screens.length - 1;
  let begun = 0;
  const rules: string[] = [];
  // Most of a screen is what stood there before: each line is drawn once, and used.
  const lines = new Map<string, string>();
  const use = (line: string) => {
    if (!lines.has(line)) lines.set(line, `l${lines.size}`);
    return `<use href="#${lines.get(line)}"/>`;
  };
  const groups = screens.map(({ text, duration }, index) => {
    const [from, to] = [begun, begun + duration].map((at) => `${+(at / whole * 100).toFixed(3)}%`);
    begun += duration;
    const shown = index === 0
      ? `0%{visibility:visible}${to}{visibility:hidden}`
      : `0%{visibility:hidden}${from}{visibility:visible}` +
        (index === last ? "" : `${to}{visibility:hidden}`);
    rules.push(
      `@keyframes s${index}{${shown}100%{visibility:${index === last ? "visible" : "hidden"}}}`,
    );
    rules.push(`#s${index}{animation:s${index} ${whole}ms step-end infinite}`);
    const still = index === last ? "" : ' visibility="hidden"';
    return `<g id="s${index}"${still}>${linesOf(text, rows).map(use).join("")}</g>\n`;
  });
  const dots = ["#ff5f57", "#febc2e", "#28c840"].map((fill, i) =>
    `<circle cx="${20 + 20 * i}" cy="${BAR / 2}" r="6" fill="${fill}"/>`
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<style>
text{font:${SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c9d1d9;white-space:pre}
.b{font-weight:bold}
.d{opacity:.6}
${COLOURS.map((fill, i) => `.c${i}{fill:${fill}}`).join("")}
@media (prefers-reduced-motion:no-preference){
${rules.join("\n")}
}
</style>
<defs>
${[...lines].map(([line, id]) => `<g id="${id}">${line}</g>\n`).join("")}</defs>
<rect width="${width}" height="${height}" rx="10" fill="#0d1117"/>
<path d="M0 ${BAR}V10a10 10 0 0 1 10-10H${width - 10}a10 10 0 0 1 10 10V${BAR}z" fill="#161b22"/>
${dots.join("")}
<text x="${width / 2}" y="${BAR / 2 + 5}" text-anchor="middle" class="d">${escape(title)}</text>
${groups.join("")}</svg>
`;
}

/** The lines of a screen, as they are drawn, without the empty ones. */
function linesOf(text: string, rows: number): string[] {
  const style: Style = { colour: undefined, bold: false, dim: false };
  return text.split("\n").slice(0, rows).map((line, row) => {
    const y = BAR + MARGIN + row * CELL.height + SIZE;
    return runsOf(line, style).filter((run) => run.text !== "").map((run) => {
      // Each run has its width, so that columns stand where they stood, whatever the font is.
      const [x, length] = [MARGIN + run.at * CELL.width, run.text.length * CELL.width];
      const names = [
        run.colour === undefined ? "" : `c${run.colour}`,
        run.bold ? "b" : "",
        run.dim ? "d" : "",
      ].filter(Boolean).join(" ");
      const look = names && ` class="${names}"`;
      return `<text x="${+x.toFixed(1)}" y="${y}" textLength="${+length.toFixed(1)}"${look}` +
        ` xml:space="preserve">${escape(run.text)}</text>`;
    }).join("");
  }).filter((line) => line !== "");
}

/** The parts of a line that look alike. A style goes on in the next line. */
function runsOf(line: string, style: Style): Run[] {
  const runs: Run[] = [];
  let at = 0;
  // deno-lint-ignore no-control-regex
  for (const part of line.trimEnd().split(/(\x1b\[[0-9;]*m)/)) {
    // deno-lint-ignore no-control-regex
    const codes = /^\x1b\[([0-9;]*)m$/.exec(part)?.[1];
    if (codes !== undefined) apply(codes.split(";").map(Number), style);
    else if (part !== "") {
      // Blanks at the ends have no width of their own to keep.
      const begin = part.length - part.trimStart().length;
      runs.push({ ...style, text: part.trim(), at: at + begin });
      at += part.length;
    }
  }
  return runs;
}

function apply(codes: number[], style: Style): void {
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code === 0) Object.assign(style, { colour: undefined, bold: false, dim: false });
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 39) style.colour = undefined;
    else if (code >= 30 && code <= 37) style.colour = code - 30;
    else if (code >= 90 && code <= 97) style.colour = code - 82;
    else if (code === 38 && codes[i + 1] === 5) {
      // Of the 256 only the sixteen have a name here; a grey is the nearest of them.
      style.colour = codes[i + 2]! < 16 ? codes[i + 2]! : 8;
      i += 2;
    }
  }
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
