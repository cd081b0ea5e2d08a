import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";

capability(
  "a remote error has its type, message, properties and both stacks",
  async ({ con, code }) => {
    const scope = con.scope();
    await con.execute(
      code({
        js:
          "class QuotaError extends Error { constructor(m) { super(m); this.name = 'QuotaError'; this.left = 3 } }" +
          "\nfunction buried() { throw new QuotaError('too much') }",
        py: `class QuotaError(Exception):
    def __init__(self, m):
        super().__init__(m)
        self.left = 3
def buried(): raise QuotaError('too much')`,
      }),
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
  },
  { needs: [] },
);

capability("errors of the system have code and errno", async ({ con, row }) => {
  const error = await assertRejects(
    async () =>
      await (row.runtime === "python" ? con.builtins.open : con.modules.fs.readFileSync)(
        "/does/not/exist",
      ),
    RemoteError,
  );
  assertEquals(error.code, "ENOENT");
  assert(typeof error.errno === "number");
}, { needs: [] });

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

capability("causes are kept in Python", async ({ con, make }) => {
  const chained = make({
    py: `def chained():
    try:
        try:
            {}["c"]
        except KeyError as e:
            raise TypeError("b") from e
    except TypeError:
        raise ValueError("a")`,
  });
  const error = await assertRejects(async () => await chained(), RemoteError);
  const cause = error.cause as RemoteError;
  const last = cause.cause as RemoteError;
  assertEquals([error.message, cause.type, cause.message, last.type], [
    "a",
    "TypeError",
    "b",
    "KeyError",
  ]);
  assertEquals(last.cause, undefined);
  const group = "type('Many', (Exception,), {'exceptions': (ValueError('x'), KeyError('y'))})('z')";
  const many = await assertRejects(
    async () => await con.eval(`(_ for _ in ()).throw(${group})`),
    RemoteError,
  );
  assertEquals(many.errors!.map((each) => (each as RemoteError).type), ["ValueError", "KeyError"]);
}, { needs: ["python"] });

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
}, { needs: [] });

capability(
  "terminal escapes do not get into messages, stacks and names",
  async ({ con, code, row }) => {
    const error = await assertRejects(
      async () =>
        await con.eval(
          code({
            js:
              `(() => { const e = new Error("a\\x1b[31mred\\x07"); e.name = "N\\x1b]0;x\\x07ame"; throw e })()`,
            py:
              `(_ for _ in ()).throw(type("N\\x1b]0;x\\x07ame", (Exception,), {})("a\\x1b[31mred\\x07"))`,
          }),
        ),
      RemoteError,
    );
    assertEquals([error.message, error.type], ["ared", "Name"]);
    // deno-lint-ignore no-control-regex
    assert(!/[\x1b\x07]/.test(error.stack! + error.remoteStack));
    const ref = await con.eval(code({
      js: `new ({ ["C\\x1b[2Jat"]: class {} })["C\\x1b[2Jat"]`,
      py: `type("C\\x1b[2Jat", (), {"__repr__": lambda self: "\\x1b[1mcat\\x07"})()`,
    }));
    assertEquals(
      Deno.inspect(ref),
      row.runtime === "python" ? "[remote Cat cat]" : "[remote object Cat]",
    );
  },
  { needs: [] },
);
