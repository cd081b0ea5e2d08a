/**
 * The environment, as far as the program may read it.
 *
 * @module
 */

/** A variable of the environment; `undefined` where the program may not read it: nobody is asked. */
export function variable(name: string): string | undefined {
  return mayRead(name) ? Deno.env.get(name) || undefined : undefined;
}

/** Of these variables, the ones that the program may not read. */
export function hiddenVariables(...names: string[]): string[] {
  return names.filter((name) => !mayRead(name));
}

function mayRead(name: string): boolean {
  return Deno.permissions.querySync({ name: "env", variable: name }).state === "granted";
}
