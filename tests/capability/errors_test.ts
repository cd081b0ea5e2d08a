import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";

capability("a remote error has its type, message, properties and both stacks", async ({ con }) => {
  const scope = con.scope();
  await con.execute(
    "class QuotaError extends Error { constructor(m) { super(m); this.name = 'QuotaError'; this.left = 3 } }" +
      "\nfunction buried() { throw new QuotaError('too much') }",
    scope,
  );
  const error = await assertRejects(async () => await scope.buried(), RemoteError);
  assertInstanceOf(error, Error);
  assertEquals([error.type, error.name, error.message], ["QuotaError", "QuotaError", "too much"]);
  assertEquals(error.left, 3);
  assertStringIncludes(error.remoteStack, "buried");
  const stack = error.stack!;
  assertStringIncludes(stack, "QuotaError: too much");
  const here = stack.indexOf("errors_test.ts");
  assert(here > 0 && here < stack.indexOf("buried"), stack);
});

capability("errors of the system have code and errno", async ({ con }) => {
  const error = await assertRejects(
    async () => await con.modules.fs.readFileSync("/does/not/exist"),
    RemoteError,
  );
  assertEquals(error.code, "ENOENT");
  assert(typeof error.errno === "number");
});

capability("causes are kept, to the end of the chain", async ({ con }) => {
  const error = await assertRejects(
    async () =>
      await con.eval(
        "(() => { throw new Error('a', { cause: new TypeError('b', { cause: { why: 'c' } }) }) })()",
      ),
    RemoteError,
  );
  const cause = error.cause as RemoteError;
  assertInstanceOf(cause, Error);
  assertEquals([cause.name, cause.message, cause.cause], ["TypeError", "b", { why: "c" }]);
});

capability("an AggregateError keeps its errors", async ({ con }) => {
  const error = await assertRejects(
    async () =>
      await con.eval("Promise.any([Promise.reject(new RangeError('x')), Promise.reject('y')])"),
    RemoteError,
  );
  assertEquals(error.type, "AggregateError");
  assertEquals((error.errors![0] as Error).message, "x");
  assertEquals(error.errors![1], "y");
});

capability("a thrown value that is no error is kept as it is", async ({ con }) => {
  for (const value of ["text", 42, null, { a: [1] }]) {
    const thrown = await con.eval(`Promise.reject(${JSON.stringify(value)})`).then(
      () => "nothing",
      (error: unknown) => error,
    );
    assertEquals(thrown, value);
  }
  const thrown = await con.eval("Promise.reject(undefined)").then(() => "no", (e: unknown) => [e]);
  assertEquals(thrown, [undefined]);
});

capability("a syntax error says so", async ({ con }) => {
  const error = await assertRejects(async () => await con.eval("1 +* 2"), RemoteError);
  assertEquals(error.type, "SyntaxError");
});

capability("terminal escapes do not get into messages, stacks and names", async ({ con }) => {
  const error = await assertRejects(
    async () =>
      await con.eval(
        `(() => { const e = new Error("a\\x1b[31mred\\x07"); e.name = "N\\x1b]0;x\\x07ame"; throw e })()`,
      ),
    RemoteError,
  );
  assertEquals([error.message, error.type], ["ared", "Name"]);
  // deno-lint-ignore no-control-regex
  assert(!/[\x1b\x07]/.test(error.stack! + error.remoteStack));
  const ref = await con.eval(`new ({ ["C\\x1b[2Jat"]: class {} })["C\\x1b[2Jat"]`);
  assertEquals(Deno.inspect(ref), "[remote object Cat]");
});
