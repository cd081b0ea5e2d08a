/**
 * Serves a folder over HTTP on loopback, as a registry serves a package's modules.
 *
 * @module
 */

const TYPES: Record<string, string> = {
  ts: "application/typescript",
  mts: "application/typescript",
  js: "text/javascript",
  mjs: "text/javascript",
  json: "application/json",
  wasm: "application/wasm",
  md: "text/markdown; charset=utf-8",
};

/** A folder that is being served. */
export interface ServedFolder extends AsyncDisposable {
  /** The folder's URL, with a slash at the end. */
  readonly url: string;
  /** How often each path was asked for, those included that are not there: `"/mod.ts"`. */
  readonly requests: ReadonlyMap<string, number>;
}

/** Serves the files of a folder, on a free port of loopback, until it is disposed of. */
export function serveFolder(folder: string): ServedFolder {
  const root = Deno.realPathSync(folder);
  const requests = new Map<string, number>();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const path = decodeURIComponent(new URL(request.url).pathname);
      requests.set(path, (requests.get(path) ?? 0) + 1);
      const file = await readInside(root, path);
      if (file === undefined) return new Response("not found", { status: 404 });
      const type = TYPES[path.slice(path.lastIndexOf(".") + 1)] ?? "application/octet-stream";
      return new Response(file, { headers: { "content-type": type, "connection": "close" } });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function readInside(
  root: string,
  path: string,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const file = await Deno.realPath(root + path);
    if (!file.startsWith(`${root}/`) || !(await Deno.stat(file)).isFile) return undefined;
    return await Deno.readFile(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
