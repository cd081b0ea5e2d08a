/**
 * What the original library's own tests promise, from here.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { isRemote, RemoteError } from "../../mod.ts";
import { item, len } from "../../python.ts";
import { PYTHON, python } from "./pythons.ts";

const ignore = PYTHON === undefined;

Deno.test({
  name: "original: arrays",
  ignore,
  fn: async () => {
    await using py = await python();
    const codes: [string, ArrayLike<unknown>][] = [
      ["b", new Int8Array([-1, 2])],
      ["B", new Uint8Array([1, 255])],
      ["h", new Int16Array([-300, 2])],
      ["H", new Uint16Array([65535])],
      ["i", new Int32Array([-70000])],
      ["I", new Uint32Array([2 ** 32 - 1])],
      ["q", new BigInt64Array([-1n])],
      ["Q", new BigUint64Array([2n ** 64n - 1n])],
      ["f", new Float32Array([1.5])],
      ["d", new Float64Array([Math.PI])],
    ];
    for (const [code, expected] of codes) {
      const made = await py.modules.array.array(code, Array.from(expected));
      assertEquals(made, expected);
      assertEquals(await py.eval("lambda a: (type(a).__name__, list(a))")(made), [
        code === "B" ? "bytes" : "array",
        Array.from(expected, (n) => n === -1n ? -1 : n),
      ]);
    }
  },
});

Deno.test({
  name: "original: attributes, classes, builtins",
  ignore,
  fn: async () => {
    await using py = await python();
    await py.execute(
      "class A(object):\n x = 1\n def __init__(self, y=2): self.y = y\n def twice(self): return 2 * self.y",
    );
    const A = await py.globals.A;
    const a = await A(21);
    assertEquals([await a.x, await a.y, await a.twice()], [1, 21, 42]);
    await py.builtins.setattr(a, "z", "new");
    assertEquals(await a.z, "new");
    assertEquals(await py.builtins.hasattr(a, "nothing"), false);
    const error = await assertRejects(async () => await a.nothing, RemoteError);
    assertEquals(error.type, "AttributeError");
    assertEquals(await py.builtins.isinstance(a, A), true);
    assertEquals(await py.builtins.issubclass(A, py.builtins.object), true);
    assertEquals(await (await new A()).y, 2);
    assertEquals(await py.builtins.abs(-3), 3);
  },
});

Deno.test({
  name: "original: modules are imported as they are named",
  ignore,
  fn: async () => {
    await using py = await python();
    assertEquals(await py.modules.os.path.basename("/a/b"), "b");
    assertEquals(await py.modules.xml.dom.minidom.Node.ELEMENT_NODE, 1);
    assertEquals(await py.import("email.mime.text").MIMEText("x").get_payload(), "x");
    const error = await assertRejects(async () => await py.import("no.such"), RemoteError);
    assertEquals(error.type, "ModuleNotFoundError");
  },
});

Deno.test({
  name: "original: compile, eval",
  ignore,
  fn: async () => {
    await using py = await python();
    assertEquals(await py.eval("1 + 1"), 2);
    assertEquals(await py.eval("x * 2", await py.scope({ x: 4 })), 8);
    assertEquals(await py.eval("y = 5\ny + 1"), 6);
    const add = await py.compile("lambda a, b: a + b");
    assertEquals(await add(1, 2), 3);
    const gcd = await py.compile("def gcd(a, b):\n  while b: a, b = b, a % b\n  return a");
    assertEquals(await gcd(48, 36), 12);
    const error = await assertRejects(async () => await py.compile("def ("), RemoteError);
    assertEquals(error.type, "SyntaxError");
    await assertRejects(async () => await py.compile("x = 1"), RemoteError, "neither a def");
  },
});

Deno.test({
  name: "original: dict, list",
  ignore,
  fn: async () => {
    await using py = await python();
    assertEquals(await py.eval("{'a': {'b': [1]}}"), { a: { b: [1] } });
    assertEquals(await py.eval("{'a': 1}").a, 1);
    assertEquals(await py.eval("lambda d: sorted(d.items())")({ b: 1, a: 2 }), [["a", 2], [
      "b",
      1,
    ]]);
    await py.execute("kept = [3, 1, 2]; table = {'k': 'v'}");
    await py.globals.kept.sort();
    assertEquals(await py.globals.kept, [1, 2, 3]);
    assertEquals(await item(py.globals.kept, -1), 3);
    assertEquals(await len(py.globals.table), 1);
    await py.globals.table.update({ more: 1 });
    assertEquals(await py.globals.table, { k: "v", more: 1 });
    // What was declared comes before what any dict has.
    await py.execute("def get(x=0): return ('declared', x)\ndef keys(): return 'mine'");
    assertEquals([await py.globals.get(7), await py.globals.keys()], [["declared", 7], "mine"]);
  },
});

Deno.test({
  name: "original: what comes home is the original",
  ignore,
  fn: async () => {
    await using py = await python();
    const home = () => {};
    assertStrictEquals(
      await py.eval("lambda f: [f]")(home).then((list: unknown[]) => list[0]),
      home,
    );
    const object = await py.builtins.object();
    assert(isRemote(object));
    assertStrictEquals(await py.eval("lambda o: o")(object), object);
    assertEquals(await py.eval("lambda a, b: a is b")(object, object), true);
  },
});

Deno.test({
  name: "original: threads",
  ignore,
  fn: async () => {
    await using py = await python();
    const seen: number[] = [];
    const threads = await py.compile(
      "def f(call, n):\n import threading\n t = [threading.Thread(target=call, args=(i,)) for i in range(n)]\n [x.start() for x in t]\n [x.join() for x in t]",
    );
    await threads((i: number) => seen.push(i), 20);
    assertEquals(seen.sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i));
    // One call waits for what another brings.
    const queue = await py.modules.queue.Queue();
    const got = queue.get();
    await queue.put("x");
    assertEquals(await got, "x");
  },
});

Deno.test({
  name: "original: a tunnel",
  ignore,
  fn: async () => {
    await using py = await python();
    const listener = await py.compile(`
    def serve():
        import socket
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        return server
  `)();
    const [, port] = await listener.getsockname();
    const echo = await py.compile(`
    def echo(server):
        peer, _ = server.accept()
        with peer:
            while True:
                data = peer.recv(1000)
                if not data: break
                peer.sendall(data.upper())
  `);
    const serving = echo(listener);
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    await connection.write(new TextEncoder().encode("through"));
    const buffer = new Uint8Array(100);
    const size = await connection.read(buffer);
    assertEquals(new TextDecoder().decode(buffer.subarray(0, size!)), "THROUGH");
    connection.close();
    await serving;
    await listener.close();
  },
});
