/**
 * `pushy cp SRC… DST`: copies files and folders, from this side to another, back, or between two others.
 *
 * @module
 */

import { Command } from "./libraries.ts";
import { connect, type Connection, CopyError, type FileOptions } from "../mod.ts";
import { type CopyPath, nameOf, parseCopyPath } from "./copy_paths.ts";
import { Interrupted, interruptible } from "./failure.ts";
import { progressBar } from "./progress_bar.ts";
import {
  connectOptions,
  Questions,
  type SharedOptions,
  wholeNumber,
  withSharedOptions,
} from "./shared_options.ts";
import { note } from "./terminal.ts";

interface CopySettings extends SharedOptions {
  recursive?: boolean;
  resume?: boolean;
  checksum?: boolean;
  preserve?: boolean;
  links: "keep" | "skip";
  special: "refuse" | "skip";
  concurrency?: number;
  quiet?: boolean;
}

/** The command. */
export function cpCommand(): Command {
  return withSharedOptions(new Command("cp"))
    .summary("copy files and folders")
    .description(
      "Copies files, and folders with -r. A remote path is TARGET:PATH. A source goes into the destination where that is a " +
        "folder already, as with cp; several sources need one. " +
        "A file appears at its destination when it is complete, and so does a new folder: a copy that fails leaves nothing.",
    )
    .argument("<paths...>", "sources, then the destination")
    .option("-r, --recursive", "copy folders")
    .option("-p, --preserve", "keep modes and times")
    .option("--resume", "go on where a copy with --resume was broken off")
    .option("--checksum", "compare the SHA-256 of both ends")
    .option("--links <how>", "links in folders: keep or skip", "keep")
    .option("--special <how>", "sockets, pipes and devices in folders: refuse or skip", "refuse")
    .option(
      "--concurrency <number>",
      "how many files of a folder at once (8, and 64 where they are small)",
      wholeNumber,
    )
    .option("-q, --quiet", "show no progress")
    .addHelpText(
      "after",
      `
Examples:
  pushy cp app.conf ssh:web1:/etc/app.conf
  pushy cp ssh:web1:/var/log/app.log .
  pushy cp -r --resume --checksum site ssh:web1:/var/www/site
  pushy cp *.deb ssh:web1:/tmp
  pushy cp ./with:colon local::/tmp/copy`,
    )
    .action(run);
}

async function run(paths: string[], settings: CopySettings): Promise<void> {
  if (paths.length < 2) {
    throw new TypeError("Cannot copy: name at least one source, and the destination behind it");
  }
  const parsed = paths.map(parseCopyPath);
  const destination = parsed.pop()!;
  if (!destination.target && parsed.some(({ target }) => !target)) {
    throw new TypeError("Cannot copy from this side to this side: one of them is TARGET:PATH");
  }
  if (destination.target && parsed.some(({ target }) => target)) {
    throw new TypeError("Cannot copy between two remote sides: copy to this side first");
  }
  await interruptible(async (signal) => {
    const connections = new Map<string, Connection>();
    try {
      for (const { target } of [...parsed, destination]) {
        if (target === undefined || connections.has(target)) continue;
        const questions = new Questions();
        const options = await connectOptions(target, settings, questions);
        connections.set(target, await connect(target, { ...options, signal }));
        questions.trust();
      }
      const into = await isFolder(destination, connections);
      if (!into && parsed.length > 1) {
        throw new TypeError(
          `Cannot copy ${parsed.length} sources to ${destination.path}: it is no folder`,
        );
      }
      for (const source of parsed) {
        await copy(source, destination, into, connections, settings, signal);
      }
    } finally {
      await Promise.all([...connections.values()].map((con) => con.close()));
    }
  });
}

async function isFolder(
  { target, path }: CopyPath,
  connections: ReadonlyMap<string, Connection>,
): Promise<boolean> {
  if (path.endsWith("/")) return true;
  if (target === undefined) {
    try {
      return (await Deno.stat(path)).isDirectory;
    } catch {
      // It is to be made, or the copy says what is wrong with it.
      return false;
    }
  }
  // deno-lint-ignore no-explicit-any
  const { modules, interpreter } = connections.get(target)! as Connection<any>;
  if (interpreter.runtime === "python") return await modules.os.path.isdir(path);
  const stats = modules.fs.statSync(path, { throwIfNoEntry: false });
  try {
    return await stats.isDirectory();
  } catch {
    return false;
  }
}

async function copy(
  source: CopyPath,
  destination: CopyPath,
  into: boolean,
  connections: ReadonlyMap<string, Connection>,
  settings: CopySettings,
  signal: AbortSignal,
): Promise<void> {
  const name = nameOf(source.path);
  const to = into && name !== ""
    ? `${destination.path.replace(/(.)\/+$/, "$1")}/${name}`
    : destination.path;
  const bar = progressBar(
    name || source.path,
    settings.quiet === true || settings.verbose === true,
  );
  const options: FileOptions = {
    signal,
    onProgress: (progress) => bar.update(progress),
    recursive: settings.recursive,
    resume: settings.resume,
    checksum: settings.checksum ? "sha256" : undefined,
    preserve: settings.preserve,
    links: settings.links,
    special: settings.special,
    concurrency: settings.concurrency,
  };
  try {
    if (source.target === undefined) {
      await connections.get(destination.target!)!.putfile(source.path, to, options);
    } else {
      await connections.get(source.target)!.getfile(source.path, to, options);
    }
    bar.done();
  } catch (error) {
    bar.clear();
    if (error instanceof Interrupted) {
      note(
        settings.resume
          ? `Interrupted. The same command goes on where ${name} is now\n`
          : `Interrupted. Nothing of ${name} was left; with --resume a copy can go on where it was\n`,
      );
    }
    if (error instanceof CopyError && error.code === "EISDIR" && !settings.recursive) {
      throw new TypeError(`Cannot copy ${error.path}: it is a folder; use -r to copy folders`, {
        cause: error,
      });
    }
    throw error;
  }
}
