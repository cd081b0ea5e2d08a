/**
 * The interpreters that may run on the remote side: how each is started, and how its agent gets in.
 *
 * The agent comes over the interpreter's input; its command line only has a loader, small and in an alphabet
 * that every shell leaves alone. A new interpreter is one record here, and one agent.
 *
 * @module
 */

import {
  packed as jsAgentPacked,
  packedRest as jsRestPacked,
  rest as jsRest,
  source as jsAgent,
} from "./generated/js_agent.ts";
import {
  packed as pythonAgentPacked,
  packedRest as pythonRestPacked,
  rest as pythonRest,
  source as pythonAgent,
} from "./generated/py_agent.ts";

/** The names of the runtimes. */
export type RuntimeName = "deno" | "node" | "bun" | "python";

/** What a remote Deno may do: each is everything (`true`), nothing (`false`, the default), or a list. */
export interface Permissions {
  /** Reading files: paths. */
  read?: boolean | string[];
  /** Writing files: paths. */
  write?: boolean | string[];
  /** The network: `host` or `host:port`. */
  net?: boolean | string[];
  /** Environment variables: names. */
  env?: boolean | string[];
  /** What the system tells of itself: `hostname`, `osRelease`, … */
  sys?: boolean | string[];
  /** Other programs: names or paths. */
  run?: boolean | string[];
  /** Native libraries: paths. */
  ffi?: boolean | string[];
  /** Hosts that modules may be imported from. */
  import?: boolean | string[];
}

/** The two kinds of systems that an interpreter may run on: they start programs in different ways. */
export type Platform = "unix" | "windows";

/** How an interpreter is to be started. */
export interface StartOptions {
  /** What a remote Deno may do. Default: everything. */
  permissions?: Permissions;
  /** May a remote Deno write to its cache folder? */
  cache: boolean;
  /** What it runs on. Default: `"unix"`. */
  platform?: Platform;
  /** Does this side end it, should the program here die? Otherwise it is watched over where it runs. */
  guarded?: boolean;
}

/** One interpreter. */
export interface Runtime {
  readonly name: RuntimeName;
  /** What is looked for on the remote's PATH. */
  readonly program: string;
  /** Other names under which hosts have it. */
  readonly alternatives: readonly string[];
  /** The words after the program. */
  args(options: StartOptions): string[];
  /** Variables that it is started with. */
  env(options: StartOptions): Record<string, string>;
  /** Can it be started on Windows? */
  readonly windows?: boolean;
  /** The source of its agent. */
  readonly agent: string;
  /** The same, compressed, in base64. */
  readonly packedAgent: string;
  /** The source of what its agent lacks until it is needed. */
  readonly rest: string;
  /** The same, compressed, in base64. */
  readonly packedRest: string;
  /** How it is compressed, for the loader: b Brotli, d deflate. */
  readonly packing: "b" | "d";
  /** Does it run several calls at once, so that each call must name the one that it descends from? */
  readonly threads?: boolean;
  /** What to try where it has written this to standard error instead of starting, if that is known. */
  hint?(stderr: string): string | undefined;
}

const JS_LOADER_HEAD = `const take=(read,n)=>{const b=new Uint8Array(n);` +
  `for(let i=0;i<n;){const k=read(b.subarray(i));if(!k)throw Error("The input ended");i+=k}return b};` +
  `const text=b=>new TextDecoder().decode(b);`;

/** Reads `<kind><8 hexadecimal digits>` and so many bytes, and unpacks them. */
const DENO_UNPACKING =
  `const head=text(await read(9));let code=await read(parseInt(head.slice(1),16));` +
  // Older versions know Brotli only as Node does, which takes longer to load.
  `const unpack=async b=>{try{return new Uint8Array(await new Response(new Blob([b]).stream().pipeThrough(new DecompressionStream("brotli"))).arrayBuffer())}` +
  `catch{return(await import("node:zlib")).brotliDecompressSync(b)}};if(head[0]=="b")code=await unpack(code);`;

/** Takes the agent from descriptor 3, imports it, and hands over what it opened. */
const DENO_LOADER = JS_LOADER_HEAD +
  `let file,socket,rest=new Uint8Array,read;` +
  `try{file=Deno.openSync("/dev/fd/3");read=n=>take(b=>file.readSync(b),n)}catch{` +
  `const{Socket}=await import("node:net");socket=new Socket({fd:3,writable:false,allowHalfOpen:true});let end,wake;` +
  `socket.on("data",d=>{const b=new Uint8Array(rest.length+d.length);b.set(rest);b.set(d,rest.length);rest=b;wake?.()});` +
  `socket.on("close",()=>{end=1;wake?.()});` +
  `read=async n=>{while(rest.length<n){if(end)throw Error("The input ended");await new Promise(r=>wake=r)}` +
  `const b=rest.slice(0,n);rest=rest.subarray(n);return b}}` +
  DENO_UNPACKING +
  `await new Function(text(code))()({file,socket,unpack,get rest(){return rest}})`;

/**
 * The same on Windows, where a process gets three descriptors and no more: the protocol takes over the first two, and
 * the program sees an input that is at its end. What it starts with `Deno.Command` gets standard error instead
 * of an output that is to be inherited: by its resource, which Deno takes as well as a name.
 */
const DENO_WINDOWS_LOADER = JS_LOADER_HEAD +
  `const{stdin,stdout,Command}=Deno,bound=(o,...names)=>Object.fromEntries(names.map(n=>[n,o[n].bind(o)]));` +
  `const file=bound(stdin,"read","readSync"),output=bound(stdout,"write","writeSync");` +
  `const read=n=>take(b=>file.readSync(b),n);` +
  DENO_UNPACKING +
  `Object.defineProperties(stdin,{readSync:{value:()=>null},read:{value:async()=>null},` +
  `readable:{get:()=>new Blob([]).stream()}});` +
  `const instead=(s,other)=>s=="inherit"?other:s;` +
  `Object.defineProperty(Deno,"Command",{configurable:true,value:class extends Command{#spawned;` +
  `constructor(program,options={}){const{stdin,stdout}=options;` +
  `const own={...options,stdin:instead(stdin,"null"),stdout:instead(stdout,2)};super(program,own);` +
  `this.#spawned=()=>new Command(program,{...own,stdout:own.stdout??2})}` +
  `spawn(){return this.#spawned().spawn()}}});` +
  `await new Function(text(code))()({file,output,unpack})`;

/** The same for Node and Bun. `loaded` is source: what is handed over. */
const nodeLoader = (descriptor: number, loaded: string) =>
  JS_LOADER_HEAD +
  // Bun's evaluated code has no `require`, and Node 18 has no `getBuiltinModule`.
  `const load=process.getBuiltinModule??require;const fs=load("fs"),zlib=load("zlib");` +
  `const once=b=>{for(;;)try{return fs.readSync(${descriptor},b)}catch(e){if(e.code!="EAGAIN")throw e;` +
  `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)),0,0,1)}};` +
  `const read=n=>take(once,n);const head=text(read(9));let code=read(parseInt(head.slice(1),16));` +
  `const unpack=async b=>zlib.brotliDecompressSync(b);if(head[0]=="b")code=zlib.brotliDecompressSync(code);` +
  // Code that a module evaluates may use import(), and its stacks do not spell out where it came from.
  `import("data:text/javascript,export const run=s=>eval(s)").then(m=>` +
  `m.run("(()=>{"+text(code)+"\\n})()\\n//# sourceURL=pushy:agent")(${loaded}))`;

const NODE_LOADER = nodeLoader(3, "{unpack}");

/** On Windows, see Deno's. Node has no means there to keep the programs that it starts from what they inherit. */
const NODE_WINDOWS_LOADER = `const input=()=>load("stream").Readable.from([]);` +
  nodeLoader(
    0,
    `(Object.defineProperty(process,"stdin",{get:input}),` +
      `{unpack,socket:new(load("net").Socket)({fd:0,writable:false}),descriptor:1})`,
  );

/** The same. What the working folder has under the name of a module is not imported by the agent. */
const PYTHON_LOADER = `import os,sys
if sys.version_info<(3,6):sys.exit("Python 3.6 or newer is needed: this is "+sys.version)
p=sys.path[:]
sys.path[:]=[x for x in p if x]
def r(n):
 b=b""
 while len(b)<n:
  c=os.read(3,n-len(b))
  if not c:os._exit(1)
  b+=c
 return b
h=r(9)
c=r(int(h[1:],16))
if h[:1]==b"d":
 import zlib
 c=zlib.decompress(c,-15)
c,d=c.split(b"\\n#LATER\\n")
g={"__name__":"pushy:agent","LATER":d}
exec(compile(c,"pushy:agent","exec"),g)
g["start"](p)
`;

/** Source as one number: no quotes, whatever shell it goes through. Its bytes are "little" first. */
function pythonWords(source: string): string {
  const bytes = new TextEncoder().encode(source);
  let hex = "";
  for (const byte of bytes.toReversed()) hex += byte.toString(16).padStart(2, "0");
  const little = "bytes((108,105,116,116,108,101)).decode()";
  return `exec(int.to_bytes(0x${hex},${bytes.length},${little}))`;
}

function permissionFlags(permissions: Permissions): string[] {
  const flags = ["--no-prompt"];
  for (const [name, value] of Object.entries(permissions)) {
    if (!/^(read|write|net|env|sys|run|ffi|import)$/.test(name)) {
      throw new TypeError(`Cannot use permission "${name}": Deno has none of that name`);
    }
    if (value === true) {
      flags.push(`--allow-${name}`);
    } else if (Array.isArray(value) && value.length > 0) {
      flags.push(`--allow-${name}=${value.map((item) => item.replaceAll(",", ",,")).join()}`);
    } else if (value !== false && value !== undefined && !Array.isArray(value)) {
      throw new TypeError(`Cannot use permission "${name}": expected true, false or a list`);
    }
  }
  return flags;
}

/** Base64 without the slash, which would end a regular expression. */
function base64url(text: string): string {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function evalLoader(loader: string): string {
  return `eval(Buffer.from(/${base64url(loader)}/.source,/base64/.source)+[])`;
}

const RUNTIMES: Record<string, Runtime> = Object.assign(
  Object.create(null),
  {
    deno: {
      name: "deno",
      program: "deno",
      alternatives: [],
      args: ({ permissions, platform }) => [
        "run",
        "--quiet",
        "--no-config",
        "--no-lock",
        ...permissions ? permissionFlags(permissions) : ["-A"],
        `data:application/javascript;base64,${
          btoa(platform === "windows" ? DENO_WINDOWS_LOADER : DENO_LOADER)
        }`,
      ],
      // A folder that cannot be made.
      env: ({ cache, platform }): Record<string, string> =>
        cache ? {} : { DENO_DIR: platform === "windows" ? "?/x" : "/dev/null/x" },
      windows: true,
      agent: jsAgent,
      packedAgent: jsAgentPacked,
      rest: jsRest,
      packedRest: jsRestPacked,
      packing: "b",
    },
    node: {
      name: "node",
      program: "node",
      alternatives: ["nodejs"],
      args: ({ platform }) => [
        "-e",
        evalLoader(platform === "windows" ? NODE_WINDOWS_LOADER : NODE_LOADER),
      ],
      env: () => ({}),
      windows: true,
      agent: jsAgent,
      packedAgent: jsAgentPacked,
      rest: jsRest,
      packedRest: jsRestPacked,
      packing: "b",
    },
    bun: {
      name: "bun",
      program: "bun",
      alternatives: [],
      args: () => ["-e", evalLoader(NODE_LOADER)],
      env: () => ({}),
      agent: jsAgent,
      packedAgent: jsAgentPacked,
      rest: jsRest,
      packedRest: jsRestPacked,
      packing: "b",
    },
    python: {
      name: "python",
      program: "python3",
      alternatives: ["/usr/libexec/platform-python", "python"],
      args: () => ["-B", "-c", pythonWords(PYTHON_LOADER)],
      env: () => ({}),
      agent: pythonAgent,
      packedAgent: pythonAgentPacked,
      rest: pythonRest,
      packedRest: pythonRestPacked,
      packing: "d",
      threads: true,
      hint: (stderr) =>
        /No module named '?(json|_json|zlib|select|_struct)'?/.test(stderr)
          ? "that Python lacks a part of its standard library, as Debian's python3-minimal does: install the " +
            "complete package (apt-get install python3), or name another with { interpreter }"
          : undefined,
    },
  } satisfies Record<string, Runtime>,
);

/** The names of the runtimes that there are. */
export const RUNTIME_NAMES: readonly string[] = Object.keys(RUNTIMES);

/** The runtime of a name, or a `TypeError` that lists them. */
export function runtimeOf(name: string): Runtime {
  const runtime = RUNTIMES[name];
  if (!runtime) {
    throw new TypeError(
      `Cannot use runtime "${name}": the runtimes are ${RUNTIME_NAMES.join(", ")}`,
    );
  }
  return runtime;
}
