import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { type BaseTransport, ConnectionError } from "../../mod.ts";
import { type TransportFeature, type TransportRow, TRANSPORTS } from "../matrix.ts";
import { type LeakGuard, leakGuard, marked } from "../support/leaks.ts";

type Open = (
  command: readonly string[],
  options?: Record<string, unknown>,
) => Promise<BaseTransport>;

/** A test over every transport. */
function contract(
  name: string,
  needs: readonly TransportFeature[],
  test: (open: Open, guard: LeakGuard, row: TransportRow) => Promise<void>,
): void {
  for (const row of TRANSPORTS) {
    if (needs.some((feature) => row.lacks?.[feature] !== undefined)) continue;
    Deno.test({
      name: `${row.name}: ${name}`,
      ignore: row.requirement.ignore,
      async fn() {
        await using guard = leakGuard();
        await test((command, options) => row.open(command, guard, options), guard, row);
      },
    });
  }
}

/** The bytes of a transport, by one of the two ways to them. */
interface Way {
  write(bytes: Uint8Array): Promise<void>;
  read(): Promise<Uint8Array | null>;
  /** Gives up what it holds of the transport. */
  release(): Promise<void>;
}

const WAYS: [name: string, open: (transport: BaseTransport) => Way | undefined][] = [
  ["streams", (transport) => {
    const writer = transport.stdin.getWriter();
    const reader = transport.stdout.getReader();
    return {
      write: (bytes) => writer.write(bytes),
      read: async () => (await reader.read()).value ?? null,
      async release() {
        await writer.close().catch(() => {});
        await reader.cancel().catch(() => {});
      },
    };
  }],
  ["channel", ({ channel }) => {
    if (!channel) return undefined;
    const buffer = new Uint8Array(64 << 10);
    return {
      write: (bytes) => channel.write(bytes),
      async read() {
        const length = await channel.read(buffer);
        return length === null ? null : buffer.slice(0, length);
      },
      release: () => Promise.resolve(),
    };
  }],
];

/** A test by each way to the bytes. */
function both(
  name: string,
  test: (transport: BaseTransport, way: Way) => Promise<void>,
) {
  for (const [kind, way] of WAYS) {
    contract(`${name} (${kind})`, ["commands"], async (open) => {
      await using transport = await open(["cat"]);
      const found = way(transport);
      if (!found) return;
      await test(transport, found);
      await transport.close();
      await found.release();
    });
  }
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (stream: ReadableStream<Uint8Array>) => new Response(stream).text();

async function write(transport: BaseTransport, data: Uint8Array): Promise<void> {
  const writer = transport.stdin.getWriter();
  await writer.write(data);
  writer.releaseLock();
}

both("what is written comes back, byte for byte", async (_transport, way) => {
  const data = crypto.getRandomValues(new Uint8Array(60_000));
  await way.write(data);
  const got: number[] = [];
  while (got.length < data.length) got.push(...(await way.read())!);
  assertEquals(new Uint8Array(got), data);
});

both("much data goes both ways at once", async (_transport, way) => {
  const total = 32 << 20;
  const sending = (async () => {
    const chunk = new Uint8Array(256 << 10);
    for (let sent = 0; sent < total; sent += chunk.length) {
      chunk.fill(sent / chunk.length);
      await way.write(chunk);
    }
  })();
  let received = 0;
  while (received < total) {
    const chunk = await way.read();
    assert(chunk !== null);
    assertEquals(chunk[0], Math.floor(received / (256 << 10)) % 256);
    received += chunk.length;
  }
  await sending;
  assertEquals(received, total);
});

both("a peer that does not read holds the writer back", async (transport, way) => {
  let taken = 0;
  let over = false;
  const writing = (async () => {
    const chunk = new Uint8Array(1 << 20);
    // `cat` stops reading once nobody reads what it writes.
    while (!over) {
      await way.write(chunk);
      taken += chunk.length;
    }
  })().catch(() => {});
  let before = -1;
  while (before !== taken) {
    before = taken;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert(taken <= 16 << 20, `${taken} bytes were taken`);
  over = true;
  await transport.close();
  await writing;
});

both("closing ends a read that waits", async (transport, way) => {
  const reading = way.read().catch(() => null);
  await transport.close();
  assertEquals(await reading, null);
});

contract(
  "standard error is apart, and exit codes are told",
  ["commands", "stderr", "exit status"],
  async (open) => {
    const transport = await open(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    const [out, err] = await Promise.all([text(transport.stdout), text(transport.stderr)]);
    assertEquals([out, err], ["out\n", "err\n"]);
    const status = await transport.status;
    assertEquals([status.code, status.signal], [3, null]);
    assertEquals(await transport.close(), status);
  },
);

contract("the argv arrives as it is, whatever is in it", ["commands"], async (open) => {
  const words = ["a b", "", "'", '"', "$HOME", "`x`", "\\", "*", "ä", "a\nb", ";", "-n", "%PATH%"];
  const transport = await open(["sh", "-c", 'for x; do printf "%s\\0" "$x"; done', "sh", ...words]);
  assertEquals((await text(transport.stdout)).split("\0").slice(0, -1), words);
  await transport.close();
});

contract("the end of its input reaches the process, and its output goes on", [
  "commands",
  "half close",
], async (open) => {
  const transport = await open(["sh", "-c", "cat >/dev/null; echo after"]);
  await write(transport, bytes("x"));
  await transport.stdin.close();
  assertEquals(await text(transport.stdout), "after\n");
  assertEquals((await transport.close()).code, 0);
});

contract(
  "close ends a process that waits for its input",
  ["commands", "exit status"],
  async (open) => {
    const transport = await open(["sh", "-c", "cat; exit 4"]);
    assertEquals((await transport.close()).code, 4);
  },
);

contract(
  "close ends a process that ignores everything, by force",
  ["commands", "exit status"],
  async (open) => {
    const transport = await open(
      ["sh", "-c", "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done"],
      { closeTimeout: 50 },
    );
    const reader = transport.stdout.getReader();
    await reader.read();
    const status = await transport.close();
    assertEquals([status.code, status.signal], [null, "SIGKILL"]);
    await reader.cancel();
  },
);

contract("close may be called twice, and at once", ["commands"], async (open) => {
  const transport = await open(["cat"]);
  const [one, two] = await Promise.all([transport.close(), transport.close()]);
  assertEquals(one, two);
  assertEquals(await transport.close(), await transport.status);
});

contract("it is disposed of by await using", ["commands"], async (open, guard) => {
  {
    await using _ = await open(["cat"]);
    assert(marked(guard.id).length > 0);
  }
  assertEquals(marked(guard.id), []);
});

contract("a process that a signal ended says so", ["commands", "exit status"], async (open) => {
  const transport = await open(["sh", "-c", "kill -TERM $$"]);
  const { code, signal } = await transport.status;
  assertEquals([code, signal], [null, "SIGTERM"]);
  await transport.close();
});

contract(
  "what the process started goes with it",
  ["commands", "process group"],
  async (open) => {
    const transport = await open(["sh", "-c", "sleep 1000 & sleep 1000 & echo ready; cat"]);
    const reader = transport.stdout.getReader();
    await reader.read();
    // What is left of it, the guard finds.
    await transport.close();
    await reader.cancel();
  },
);

contract("a command that does not exist is an error that names it", ["commands"], async (open) => {
  const failed = await open(["no-such-program-anywhere", "x"]).then(
    async (transport) => {
      // A remote shell may be what finds out.
      const message = await text(transport.stderr);
      assertEquals((await transport.close()).code, 127);
      return message;
    },
    (error) => {
      assertInstanceOf(error, ConnectionError);
      return error.message;
    },
  );
  assertStringIncludes(failed, "no-such-program-anywhere");
});

contract(
  "a signal that is aborted before or during the start ends it",
  ["commands"],
  async (open) => {
    const reason = new Error("no longer");
    const before = await assertRejects(() => open(["cat"], { signal: AbortSignal.abort(reason) }));
    assertStrictEquals(before, reason);
    const controller = new AbortController();
    const opening = open(["cat"], { signal: controller.signal });
    controller.abort(reason);
    assertStrictEquals(await assertRejects(() => opening), reason);
  },
);

contract("a signal that is aborted later has no effect", ["commands"], async (open) => {
  const controller = new AbortController();
  const transport = await open(["cat"], { signal: controller.signal });
  controller.abort();
  await write(transport, bytes("still here"));
  await transport.stdin.close();
  assertEquals(await text(transport.stdout), "still here");
  await transport.close();
});

contract("cwd and env reach the process", ["commands", "cwd"], async (open, guard) => {
  const transport = await open(["sh", "-c", 'pwd; echo "$PUSHY_TEST_X"'], {
    cwd: guard.folder,
    env: { ...guard.env, PUSHY_TEST_X: "a 'b' $c" },
  });
  assertEquals(await text(transport.stdout), `${Deno.realPathSync(guard.folder)}\na 'b' $c\n`);
  await transport.close();
});

contract("a wrong folder is an error", ["commands", "cwd"], async (open) => {
  await assertRejects(
    async () => {
      const transport = await open(["cat"], { cwd: "/no/such/folder" });
      await transport.close();
    },
    ConnectionError,
    "/no/such/folder",
  );
});

contract(
  "writing to a process that has ended is an error, and close still works",
  ["commands"],
  async (open) => {
    const transport = await open(["true"]);
    await transport.status;
    const writer = transport.stdin.getWriter();
    await assertRejects(async () => {
      for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(65536));
    });
    await transport.close();
  },
);

contract(
  "nobody needs to read what the process writes for close to end",
  ["commands"],
  async (open) => {
    const transport = await open(["sh", "-c", "yes; yes >&2"], { closeTimeout: 50 });
    await transport.close();
  },
);

contract("its own file copy keeps the promises", ["files"], async (open, guard) => {
  await using transport = await open(["cat"]);
  const data = crypto.getRandomValues(new Uint8Array(50_000));
  const [a, b, c] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`);
  await Deno.writeFile(a!, data);
  const seen: number[] = [];
  await transport.putfile!(a!, b!, { onProgress: (p) => seen.push(p.bytes) });
  await transport.getfile!(b!, c!);
  assertEquals(await Deno.readFile(c!), data);
  assertEquals(seen.at(-1), data.length);
  await Deno.writeTextFile(c!, "before");
  await assertRejects(() => transport.getfile!(`${guard.folder}/none`, c!));
  await assertRejects(() => transport.getfile!(b!, c!, { signal: AbortSignal.abort() }));
  assertEquals(await Deno.readTextFile(c!), "before");
  assertEquals([...Deno.readDirSync(guard.folder)].length, 3);
});
