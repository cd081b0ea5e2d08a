/**
 * The project's own lint rules: the layers, and what its style leaves out.
 *
 * @module
 */

/** What the files of a library folder may import, beside their own folder. */
const LAYERS: Record<string, readonly string[]> = {
  protocol: [],
  transport: [],
  runtime: ["protocol"],
  client: ["protocol", "transport", "runtime"],
  server: ["protocol", "transport", "runtime"],
  cli: [],
};

/** The files on top, which may import every layer. */
const TOP = ["mod.ts", "cli.ts"];

/** What the command line's own files may import: it is a user of the package, as any other. */
const COMMAND_LINE = ["mod.ts", "server/", "transport/"];

/** The files that may contain `new Proxy`, with their reasons. */
const PROXY_FILES = [
  // Remote objects in the caller's hands.
  "protocol/proxy.ts",
  // The scope that `execute` evaluates in, under `with`, on the remote side.
  "runtime/js/evaluate.ts",
];

/** The files that may have a default export, because Deno asks for one. */
const DEFAULT_EXPORT_FILES = ["tools/lint_plugin.ts"];

const BANNED_NAMES = /^(utils?|helpers?|common|managers?)$/;

/** The path inside the checkout; a test gives such a path itself. */
function pathOf(filename: string): string {
  const root = decodeURIComponent(new URL("..", import.meta.url).pathname);
  return filename.startsWith(root) ? filename.slice(root.length) : filename;
}

function layerOf(path: string): string | undefined {
  const folder = path.split("/")[0] ?? "";
  return path.includes("/") && Object.hasOwn(LAYERS, folder) ? folder : undefined;
}

/** Why `path` may not import `specifier`, or `undefined` where it may. */
function layerViolation(path: string, specifier: string): string | undefined {
  const layer = layerOf(path);
  if (layer === undefined && !TOP.includes(path)) return undefined;
  if (specifier.startsWith("@pushy/core") || specifier.startsWith("jsr:@pushy/core")) {
    return `${path} imports its own package: name the file instead`;
  }
  if (!/^\.{1,2}\//.test(specifier)) return undefined;
  const target = new URL(specifier, `file:///${path}`).pathname.slice(1);
  const folder = target.split("/")[0] ?? "";
  if (path === "cli.ts" && target === "deno.json") return undefined;
  if (layer === undefined && target.startsWith("cli/")) {
    return path === "cli.ts" ? undefined : `${path} imports "${target}", which only cli.ts may`;
  }
  if (layer === "cli") {
    if (folder === "cli" || COMMAND_LINE.some((allowed) => target.startsWith(allowed))) {
      return undefined;
    }
    return `cli/ imports "${target}", but may import ${COMMAND_LINE.join(", ")}`;
  }
  if (layer === undefined) {
    if (layerOf(target) !== undefined || TOP.includes(target)) return undefined;
    return `${path} imports "${target}", which is in no layer`;
  }
  if (folder === layer || LAYERS[layer]?.includes(folder)) return undefined;
  const allowed = LAYERS[layer]?.map((name) => `${name}/`).join(", ") || "no other layer";
  return `${layer}/ imports "${target}", but may import ${allowed}`;
}

const layers: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context.filename);
    const check = (node: Deno.lint.Node, source: Deno.lint.Node | null | undefined) => {
      if (source?.type !== "Literal" || typeof source.value !== "string") return;
      const message = layerViolation(path, source.value);
      if (message !== undefined) context.report({ node, message });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source),
      ExportNamedDeclaration: (node) => check(node, node.source),
      ExportAllDeclaration: (node) => check(node, node.source),
      ImportExpression: (node) => check(node, node.source),
      "TSImportType Literal": (node: Deno.lint.Node) => check(node, node),
    };
  },
};

const noDefaultExport: Deno.lint.Rule = {
  create(context) {
    if (DEFAULT_EXPORT_FILES.includes(pathOf(context.filename))) return {};
    const message = "A default export has no name of its own: export by name";
    return {
      ExportDefaultDeclaration: (node) => context.report({ node, message }),
      ExportSpecifier(node) {
        if (node.exported.type === "Identifier" && node.exported.name === "default") {
          context.report({ node, message });
        }
      },
    };
  },
};

const erasableSyntax: Deno.lint.Rule = {
  create(context) {
    return {
      TSEnumDeclaration: (node) =>
        context.report({ node, message: "No enums: use a union of literals" }),
      TSModuleDeclaration(node) {
        if (node.kind === "global" || node.id.type === "Literal") return;
        context.report({ node, message: "No namespaces: use a module" });
      },
    };
  },
};

const hashPrivate: Deno.lint.Rule = {
  create(context) {
    const message = "No `private`: use a #name, which is private when the program runs, too";
    return {
      PropertyDefinition(node) {
        if (node.accessibility === "private") context.report({ node, message });
      },
      MethodDefinition(node) {
        // A constructor cannot have a #name.
        if (node.accessibility === "private" && node.kind !== "constructor") {
          context.report({ node, message });
        }
      },
      TSParameterProperty(node) {
        // Deno 2.9 leaves `accessibility` of a parameter undefined.
        if (/^private\b/.test(context.sourceCode.getText(node))) context.report({ node, message });
      },
    };
  },
};

const fileNames: Deno.lint.Rule = {
  create(context) {
    const name = pathOf(context.filename).split("/").at(-1)?.replace(/\..*$/, "") ?? "";
    if (!name.split("_").some((word) => BANNED_NAMES.test(word))) return {};
    const message = `"${name}" does not say what the file hides: name it after that`;
    return { Program: (node) => context.report({ node, message }) };
  },
};

const oneProxy: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context.filename);
    if (layerOf(path) === undefined && !TOP.includes(path)) return {};
    if (PROXY_FILES.includes(path)) return {};
    return {
      NewExpression(node) {
        if (node.callee.type !== "Identifier" || node.callee.name !== "Proxy") return;
        context.report({ node, message: `"new Proxy" belongs to ${PROXY_FILES[0]}` });
      },
    };
  },
};

const quiet: Deno.lint.Rule = {
  create(context) {
    const path = pathOf(context.filename);
    const layer = layerOf(path);
    if (layer === "cli" || layer === undefined && path !== "mod.ts") return {};
    return {
      CallExpression(node) {
        // Calls only: the agent replaces the methods of its own console.
        const { callee } = node;
        if (callee.type !== "MemberExpression" || callee.object.type !== "Identifier") return;
        if (callee.object.name !== "console") return;
        context.report({
          node,
          message: "A library does not print: throw, or let the user choose",
        });
      },
    };
  },
};

const plugin: Deno.lint.Plugin = {
  name: "pushy",
  rules: {
    layers,
    "no-default-export": noDefaultExport,
    "erasable-syntax": erasableSyntax,
    "hash-private": hashPrivate,
    "file-names": fileNames,
    "one-proxy": oneProxy,
    quiet,
  },
};

export default plugin;
