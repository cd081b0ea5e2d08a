/**
 * Which test files run in one process, and how many such processes side by side.
 *
 * Most tests wait for other programs to start, so one process leaves half of two processors idle. Tests of one folder
 * share servers and look for what is left of their own children, so a folder is never divided, but where each file has
 * every transport and runtime to go through.
 *
 * @module
 */

import { root } from "./command.ts";

/** The folder whose files are each as long as another folder. */
const DIVIDED = "capability";
/** What takes longest begins first, so that nothing long is left for the end. */
const FIRST = ["ssh", "hostile", DIVIDED, "cli"];
/** More processes at once than this would make each test slower than its own limits allow for. */
const MOST = 4;

/** The groups of test files below `tests/`, without the folder `omitted`, longest first. */
export function testGroups(omitted: string | undefined): string[][] {
  const top: string[] = [];
  const folders: { name: string; groups: string[][] }[] = [];
  for (const { name, isFile } of Deno.readDirSync(`${root}/tests`)) {
    const path = `tests/${name}`;
    if (path === omitted) continue;
    if (isFile) {
      if (name.endsWith("_test.ts")) top.push(path);
      continue;
    }
    const files = testFiles(path);
    if (files.length === 0) continue;
    folders.push({ name, groups: name === DIVIDED ? files.map((file) => [file]) : [files] });
  }
  const place = (name: string) => (FIRST.indexOf(name) + 1) || FIRST.length + 1;
  folders.sort((a, b) => place(a.name) - place(b.name) || a.name.localeCompare(b.name));
  return [...folders.flatMap(({ groups }) => groups), ...top.length > 0 ? [top.sort()] : []];
}

function testFiles(folder: string): string[] {
  const found: string[] = [];
  for (const { name, isDirectory } of Deno.readDirSync(`${root}/${folder}`)) {
    if (isDirectory) found.push(...testFiles(`${folder}/${name}`));
    else if (name.endsWith("_test.ts")) found.push(`${folder}/${name}`);
  }
  return found.sort();
}

/** Does each work, as many at once as there are processors, and resolves to the results in the order of the works. */
export async function sideBySide<T>(works: readonly (() => Promise<T>)[]): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async () => {
    while (next < works.length) {
      const index = next++;
      results[index] = await works[index]!();
    }
  };
  const workers = Math.min(MOST, navigator.hardwareConcurrency);
  await Promise.all(Array.from({ length: workers }, worker));
  return results;
}
