/**
 * The environment, as far as the program may read it.
 *
 * @module
 */

/** A variable of the environment; `undefined` where the program may not read it: nobody is asked. */
export function variable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) || undefined : undefined;
}
