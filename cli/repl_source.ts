/**
 * What was typed at the prompt, made fit for a live interpreter: whether it is complete, and how it is run so that its
 * declarations stay, `await` works anywhere in it, and its last expression is its value.
 *
 * JavaScript is read by npm:acorn, which tells input that ends too early from input that is wrong.
 *
 * @module
 */

import { acorn } from "./libraries.ts";

/** Source in the parts that run one after the other. */
export interface Prepared {
  /** Statements whose declarations stay; no `await` in them. */
  readonly statements: string;
  /** An expression with the value, in which `await` may stand; `undefined` if there is nothing to show. */
  readonly expression: string | undefined;
  /** Names that the statements declare. */
  readonly declares: readonly string[];
}

/** Is more to come? If not, the source in its parts; a syntax error is left for the interpreter to tell. */
export function prepare(source: string): Prepared | "incomplete" {
  let program: acorn.Program;
  try {
    program = parse(source);
  } catch (error) {
    if (isIncomplete(error, source)) return "incomplete";
    // An object in braces is a value at a prompt, not a block.
    return { statements: "", expression: source, declares: [] };
  }
  if (
    /^\s*\{/.test(source) && program.body[0]?.type === "BlockStatement" && parses(`(${source}\n)`)
  ) {
    return { statements: "", expression: source, declares: [] };
  }
  const { body } = program;
  const declares = body.flatMap(declaredBy);
  const last = body.at(-1);
  const awaits = body.some(hasAwait) || body.some(({ type }) => type === "ImportDeclaration");
  const value = last?.type === "ExpressionStatement" ? textOf(source, last.expression) : undefined;
  if (declares.length === 0) {
    if (body.length === 1 && value !== undefined) {
      return { statements: "", expression: value, declares };
    }
    if (!awaits) {
      return { statements: "", expression: source.trim() === "" ? undefined : source, declares };
    }
  }
  if (!awaits) {
    const end = value === undefined ? source.length : last!.start;
    return { statements: source.slice(0, end), expression: value, declares };
  }
  // Declared first, and set where the declaration stood: so they outlive the function that can wait.
  const names = body.filter(({ type }) => type !== "FunctionDeclaration").flatMap(declaredBy);
  const functions = body.filter(({ type }) => type === "FunctionDeclaration");
  const rest = body.filter(({ type }) => type !== "FunctionDeclaration");
  const lines = rest.map((node) =>
    node === last && value !== undefined ? `return (${value}\n);` : assigned(source, node)
  );
  return {
    statements: [
      names.length > 0 ? `let ${[...new Set(names)].join(", ")};` : "",
      ...functions.map((node) => textOf(source, node)),
    ].join("\n"),
    expression: `(async () => {\n${lines.join("\n")}\n})()`,
    declares,
  };
}

function parse(source: string): acorn.Program {
  const options = { ecmaVersion: "latest", allowAwaitOutsideFunction: true } as const;
  try {
    return acorn.parse(source, { ...options, sourceType: "script" });
  } catch (error) {
    if (!/\b(import|export)\b/.test(source)) throw error;
    return acorn.parse(source, { ...options, sourceType: "module" });
  }
}

function parses(source: string): boolean {
  try {
    parse(source);
    return true;
  } catch {
    return false;
  }
}

function isIncomplete(error: unknown, source: string): boolean {
  const { message, pos } = error as { message: string; pos?: number };
  if (/Unterminated (template|comment)/.test(message)) return true;
  if (/Unterminated string/.test(message)) return source.endsWith("\\\n") || source.endsWith("\\");
  return pos !== undefined && pos >= source.trimEnd().length && /Unexpected token/.test(message);
}

function textOf(source: string, node: acorn.Node): string {
  return source.slice(node.start, node.end);
}

function declaredBy(node: acorn.Program["body"][number]): string[] {
  switch (node.type) {
    case "VariableDeclaration":
      return node.declarations.flatMap(({ id }) => namesIn(id));
    case "FunctionDeclaration":
    case "ClassDeclaration":
      return [node.id.name];
    case "ImportDeclaration":
      return node.specifiers.map(({ local }) => local.name);
  }
  return [];
}

function namesIn(pattern: acorn.Pattern): string[] {
  switch (pattern.type) {
    case "Identifier":
      return [pattern.name];
    case "ObjectPattern":
      return pattern.properties.flatMap((property) =>
        namesIn(property.type === "RestElement" ? property.argument : property.value)
      );
    case "ArrayPattern":
      return pattern.elements.flatMap((element) => element === null ? [] : namesIn(element));
    case "RestElement":
      return namesIn(pattern.argument);
    case "AssignmentPattern":
      return namesIn(pattern.left);
  }
  return [];
}

/** A statement whose declarations have become assignments to names that are declared already. */
function assigned(source: string, node: acorn.Program["body"][number]): string {
  switch (node.type) {
    case "VariableDeclaration":
      return node.declarations.map(({ id, init }) =>
        `(${textOf(source, id)} = ${init ? textOf(source, init) : "undefined"});`
      ).join(" ");
    case "ClassDeclaration":
      return `${node.id.name} = ${textOf(source, node)};`;
    case "ImportDeclaration": {
      const from = `await import(${node.source.raw})`;
      if (node.specifiers.length === 0) return `${from};`;
      return node.specifiers.map((specifier) => {
        const { local } = specifier;
        if (specifier.type === "ImportNamespaceSpecifier") return `${local.name} = ${from};`;
        const imported = specifier.type === "ImportDefaultSpecifier"
          ? '"default"'
          : specifier.imported.type === "Identifier"
          ? JSON.stringify(specifier.imported.name)
          : specifier.imported.raw;
        return `${local.name} = (${from})[${imported}];`;
      }).join(" ");
    }
  }
  return textOf(source, node);
}

/** Does a statement wait, outside of functions of its own? */
function hasAwait(node: unknown): boolean {
  if (Array.isArray(node)) return node.some(hasAwait);
  if (typeof node !== "object" || node === null) return false;
  const { type } = node as { type?: string };
  if (type === "AwaitExpression") return true;
  if (type === "ForOfStatement" && (node as { await?: boolean }).await) return true;
  if (type !== undefined && /Function|MethodDefinition|PropertyDefinition/.test(type)) return false;
  return Object.values(node).some(hasAwait);
}
