import { assert, assertRejects } from "@std/assert";
import { BootstrapError, ConnectionLostError } from "../../mod.ts";
import { held, Printed, PYTHON, python, PYTHONS } from "./pythons.ts";

const ignore = PYTHON === undefined;

async function alive(pid: number): Promise<boolean> {
  try {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  while (await alive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
}

for (const { path, version } of PYTHONS) {
  Deno.test(`Python ${version} (${path}): close() ends an agent that ignores everything, and its children`, async () => {
    const py = await python({ stderr: "null" }, path);
    const child: number = await py.eval("__import__('subprocess').Popen(['sleep', '1000']).pid");
    const { pid } = py.interpreter;
    let spins!: () => void;
    const spinning = new Promise<void>((resolve) => spins = resolve);
    const call = py.compile(
      "def f(spins):\n spins()\n while True:\n  try:\n   while True: pass\n  except BaseException: pass",
    )(spins);
    const lost = assertRejects(async () => await call, ConnectionLostError);
    await held(spinning);
    await py.close();
    await lost;
    await held(Promise.all([gone(pid), gone(child)]));
  });
}

Deno.test({
  name: "Python: an agent whose caller has died ends, though its main thread spins",
  ignore,
  fn: async () => {
    const script = `
      import { connect } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
      const py = await connect("local:", { runtime: "python", interpreter: ${
      JSON.stringify(PYTHON!.path)
    } });
      await py.compile("def f(p):\\n p()\\n while True: pass")(() => console.log(py.interpreter.pid));
    `;
    const program = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-config", script],
      stdout: "piped",
    }).spawn();
    const reader = program.stdout.getReader();
    const { value } = await reader.read();
    const pid = parseInt(new TextDecoder().decode(value));
    assert(await alive(pid));
    program.kill("SIGKILL");
    await program.status;
    await reader.cancel();
    await gone(pid);
  },
});

Deno.test({
  name: "Python: an interpreter without its standard library is named in the hint",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(
        `${folder}/sitecustomize.py`,
        "import sys\nclass F:\n def find_spec(self, name, path=None, target=None):\n  if name in ('_json', 'json'): raise ModuleNotFoundError(\"No module named '%s'\" % name)\nsys.meta_path.insert(0, F())\n",
      );
      const error = await assertRejects(
        () => python({ env: { PYTHONPATH: folder }, stderr: new Printed() }),
        BootstrapError,
      );
      assert(/python3-minimal/.test(error.hint ?? ""), error.message);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
