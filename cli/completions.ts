/**
 * `pushy completions SHELL`: scripts that let a shell complete command lines, made from the commands themselves.
 *
 * @module
 */

import { Argument, Command } from "./libraries.ts";
import { FLAGS } from "../server/flags.ts";
import { print } from "./terminal.ts";

/** The command; `program` is what is completed. */
export function completionsCommand(program: Command): Command {
  return new Command("completions")
    .summary("print a completion script")
    .description("Prints a script that lets a shell complete pushy's command lines.")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      `
Examples:
  source <(pushy completions bash)
  source <(pushy completions zsh)
  pushy completions fish > ~/.config/fish/completions/pushy.fish`,
    )
    .action((shell: "bash" | "zsh" | "fish") => print(SCRIPTS[shell](program)));
}

/** The flags whose value is a file. */
const FILES: readonly string[] = [
  "--identity",
  "--ssh-config",
  "--tls-ca",
  "--tls-cert",
  "--tls-key",
  "--tls-client-ca",
  "--token-file",
  "--unix",
];

/** What begins a target; more of it only the user knows. */
const TARGETS = "local: ssh: daemon: smb:";

interface Flag {
  readonly names: string[];
  readonly description: string;
  readonly choices: readonly string[];
  readonly takesValue: boolean;
}

function flagsOf(command: Command): Flag[] {
  const options = command.name() === "server" ? serverFlags() : command.options.map((option) => ({
    names: [option.short, option.long].filter((name) => name !== undefined && name !== null),
    description: option.description,
    choices: option.argChoices ?? [],
    takesValue: option.required || option.optional,
  }));
  return [...options, {
    names: ["-h", "--help"],
    description: "show help",
    choices: [],
    takesValue: false,
  }];
}

/** The server reads its own arguments. */
function serverFlags(): Flag[] {
  return Object.entries(FLAGS).filter(([name]) => name !== "help").map(([name, { type }]) => ({
    names: [`--${name}`],
    description: name.replaceAll("-", " "),
    choices: name === "runtime" ? ["deno", "node", "bun", "python"] : [],
    takesValue: type === "string",
  }));
}

const SCRIPTS: Record<"bash" | "zsh" | "fish", (program: Command) => string> = {
  bash(program) {
    const cases = program.commands.map((command) => {
      const names = flagsOf(command).flatMap((flag) => flag.names).join(" ");
      return `    ${command.name()}) words="${names} ${TARGETS}" ;;`;
    });
    return `_pushy() {
  local current previous words=""
  current="\${COMP_WORDS[COMP_CWORD]}"
  previous="\${COMP_WORDS[COMP_CWORD-1]}"
  case "$previous" in
    --runtime) COMPREPLY=($(compgen -W "deno node bun python" -- "$current")); return ;;
    ${FILES.join("|")}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${
      program.commands.map((c) => c.name()).join(" ")
    } --help --version" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
    *) return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "\${COMP_WORDS[1]}" in cp) COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}
complete -o nospace -o bashdefault -F _pushy pushy
`;
  },
  zsh(program) {
    const commands = program.commands.map((command) =>
      `    ${quote(`${command.name()}:${command.summary()}`)}`
    );
    const cases = program.commands.map((command) => {
      const specs = flagsOf(command).flatMap((flag) =>
        flag.names.map((name) => {
          const value = !flag.takesValue
            ? ""
            : flag.choices.length > 0
            ? `:value:(${flag.choices.join(" ")})`
            : FILES.includes(name)
            ? ":file:_files"
            : ":value:";
          return quote(`${name}[${flag.description.replace(/[[\]:]/g, " ")}]${value}`);
        })
      );
      const rest = command.name() === "cp"
        ? `'*:path:_files'`
        : `'1:target:(${TARGETS.replaceAll(":", "\\:")})'`;
      return `    ${command.name()}) _arguments -S ${specs.join(" ")} ${rest} ;;`;
    });
    return `#compdef pushy
_pushy() {
  local -a commands
  commands=(
${commands.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command="\${words[2]}"
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join("\n")}
  esac
}
compdef _pushy pushy
`;
  },
  fish(program) {
    const lines = program.commands.flatMap((command) => {
      const name = command.name();
      const using = `-n '__fish_seen_subcommand_from ${name}'`;
      return [
        `complete -c pushy -f -n __fish_use_subcommand -a ${name} -d ${quote(command.summary())}`,
        ...flagsOf(command).map((flag) => {
          const names = flag.names.map((option) =>
            option.startsWith("--") ? `-l ${option.slice(2)}` : `-s ${option.slice(1)}`
          );
          const value = !flag.takesValue
            ? ""
            : flag.choices.length > 0
            ? ` -x -a ${quote(flag.choices.join(" "))}`
            : " -r";
          return `complete -c pushy ${using} ${names.join(" ")}${value} -d ${
            quote(flag.description)
          }`;
        }),
        name === "cp"
          ? `complete -c pushy ${using} -F`
          : `complete -c pushy ${using} -f -a ${quote(TARGETS)}`,
      ];
    });
    return lines.join("\n") + "\n";
  },
};

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
