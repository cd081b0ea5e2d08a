import { assert, assertEquals, assertMatch } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { startSshd } from "../ssh/servers.ts";
import { startHost } from "../support/ssh_host.ts";
import { PUSHY, pushy, Terminal } from "./terminal.ts";

const SSH = requires("sshd", "ssh", "ssh-keygen");

Deno.test({
  name: "ssh: Ctrl-C is for the command, not for its ssh; what it broke off goes on with --resume",
  ...requiresAll(SSH, requires("tmux")),
  fn: async () => {
    await using guard = leakGuard();
    await using host = await startHost("web1");
    const { folder } = guard;
    const env = { ...guard.env, ...host.env };
    await Deno.mkdir(`${folder}/site`);
    await Deno.mkdir(`${folder}/screens`);
    using file = await Deno.open(`${folder}/site/big`, { create: true, write: true });
    await file.truncate(200_000_000);
    await Deno.writeTextFile(`${folder}/site/small`, "small");
    const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    for (const resume of ["", "--resume"]) {
      const command = `cd '${folder}' && ${PUSHY} cp -r ${resume} site ssh:web1:${folder}/to`;
      await using terminal = await Terminal.start(command, `${folder}/screens`, env);
      await terminal.until(/site \[#+-*\] +\d+%/);
      await terminal.press("C-c");
      const screen = await terminal.until(/\[ended \d+\]/);
      assertMatch(screen, /^Interrupted\..*(was left|goes on)[^]*\[ended 130\]$/m);
      assert(!names().includes("to"));
      assertEquals(names().some((name) => name.endsWith(".part")), resume !== "");
    }
    const again = await pushy([
      "cp",
      "-r",
      "--resume",
      "--checksum",
      "site",
      `ssh:web1:${folder}/to`,
    ], {
      cwd: folder,
      env,
    });
    assertEquals(again.code, 0, again.stderr);
    assertMatch(again.stderr, /^site: 200 MB in /);
    assertEquals(names(), ["screens", "site", "to"]);
    assertEquals((await Deno.stat(`${folder}/to/big`)).size, 200_000_000);
  },
});

Deno.test({
  name: "ssh: doctor follows the ssh configuration, and names what the host has",
  ...SSH,
  fn: async () => {
    await using guard = leakGuard();
    await using host = await startHost("web1");
    const env = { ...guard.env, ...host.env };
    const well = await pushy(["doctor", "ssh:web1"], { env });
    assertEquals(well.code, 0, well.stdout);
    assertMatch(
      well.stdout,
      /^✓ name: web1 is 127\.0\.0\.1 in the ssh configuration\n✓ port: \d+ answers in .*\n✓ host key: .*\n✓ login: let in\n✓ login shell: .*\n✓ interpreters: .*\bdeno \d[^]*\n✓ agent: deno .*\n✓ clock: /,
    );
    const missing = await pushy(["eval", "ssh:web1", "--interpreter", "/no/such", "1"], { env });
    assertEquals(missing.code, 1);
    assertMatch(
      missing.stderr,
      /^pushy: Cannot connect to "ssh:web1": the interpreter \/no\/such was not found there\n[^]*hint: the host has .*\bdeno\b/,
    );
    const nobody = await pushy(["doctor", "ssh:web1", "--user", "no-such-user"], { env });
    assertEquals(nobody.code, 1);
    assertMatch(nobody.stdout, /✓ host key: .*\n✗ login: .*\n[^]*\n {4}what to do: /);
    const refused = await pushy(["doctor", "ssh:web1:1"], { env });
    assertMatch(refused.stdout, /✗ port: 1 of 127\.0\.0\.1 does not answer: .*\n {4}what to do: /);
  },
});

Deno.test({
  name: "ssh: a configuration file and options are named at the command line",
  ...SSH,
  fn: async () => {
    await using guard = leakGuard();
    await using server = await startSshd();
    const config = `${guard.folder}/config`;
    await Deno.writeTextFile(
      config,
      `Host web7\nHostName 127.0.0.1\nIdentityFile ${server.key}\nUserKnownHostsFile ${server.knownHosts}\n`,
    );
    const flags = ["--ssh-config", config, "--ssh-option", `Port=${server.port}`];
    const { stdout, stderr } = await pushy(["eval", "ssh:web7", "6 * 7", ...flags], guard);
    assertEquals([stdout, stderr], ["42\n", ""]);
    const doctor = await pushy(["doctor", "ssh:web7", ...flags], guard);
    assertMatch(doctor.stdout, /^✓ name: web7 is 127\.0\.0\.1 .*\n✓ port: \d+ answers/);
    assertEquals(doctor.code, 0, doctor.stdout);
    const wrong = await pushy(["eval", "ssh:web7", "1", "--ssh-option", "Port"], guard);
    assertMatch(wrong.stderr, /It is KEY=VALUE/);
  },
});

Deno.test({
  name: "ssh: a terminal that is closed ends a copy, and nothing of it is left on the host",
  ...requiresAll(SSH, requires("tmux")),
  fn: async () => {
    await using guard = leakGuard({ grace: 10_000 });
    await using host = await startHost("web1");
    const { folder } = guard;
    await Deno.mkdir(`${folder}/screens`);
    await Deno.mkdir(`${folder}/there`);
    using file = await Deno.open(`${folder}/big`, { create: true, write: true });
    await file.truncate(1_500_000_000);
    const names = () => [...Deno.readDirSync(`${folder}/there`)].map(({ name }) => name);
    {
      const command = `cd '${folder}' && ${PUSHY} cp big ssh:web1:${folder}/there/to`;
      const env = { ...guard.env, ...host.env };
      await using terminal = await Terminal.start(command, `${folder}/screens`, env);
      await terminal.until(/big \[#+-*\] +\d+%/);
      assertMatch(names().join(), /^\.pushy-[\w-]+\.part$/);
    }
    const end = performance.now() + 10_000;
    while (names().length > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals(names(), []);
  },
});

Deno.test({
  name: "ssh: a password is asked for once, and not shown, however often it is needed",
  ...requiresAll(
    SSH,
    requires("tmux"),
    requiresThat(Deno.uid() === 0, "not root: it makes an account", "run the tests as root"),
  ),
  fn: async () => {
    await using guard = leakGuard();
    await using host = await startHost("web1", { account: true, password: true });
    const { name, password, home } = host.account!;
    await Deno.writeTextFile(`${guard.folder}/note`, "copied");
    // A single file goes by SFTP, which logs in again beside the connection.
    const command = `cd '${guard.folder}' && ${PUSHY} cp note ssh:web1:note`;
    const env = { ...guard.env, ...host.env };
    await using terminal = await Terminal.start(command, guard.folder, env);
    await terminal.until(new RegExp(`^${name}@127\\.0\\.0\\.1's password:$`, "m"));
    await terminal.line(password);
    const screen = await terminal.until(/\[ended \d+\]/);
    assertMatch(screen, /^note: 6 B in .*\n\[ended 0\]$/m);
    assertEquals([...screen.matchAll(/password:/g)].length, 1, screen);
    assert(!screen.includes(password));
    assertEquals(await Deno.readTextFile(`${home}/note`), "copied");
  },
});

Deno.test({
  name: "ssh: the prompt's Ctrl-C and the link's end, on another host's Python",
  ...requiresAll(SSH, requires("tmux", "python3")),
  fn: async () => {
    await using guard = leakGuard();
    await using host = await startHost("web1");
    const env = { ...guard.env, ...host.env, XDG_STATE_HOME: `${guard.folder}/state` };
    const command = `${PUSHY} repl ssh:web1 --runtime python`;
    await using terminal = await Terminal.start(command, guard.folder, env);
    await terminal.until(/^>>>$/m);
    await terminal.line("import os, time; kept = 5");
    await terminal.line("print('slee' + 'ping'); time.sleep(1000)");
    await terminal.until(/^sleeping$/m);
    await terminal.press("C-c");
    await terminal.until(/^Interrupted\n>>>$/m);
    await terminal.line("kept + 1");
    await terminal.until(/^6$/m);
    await terminal.line("os.kill(os.getpid(), 9)");
    await terminal.until(/^The connection was lost[^]*Connect again\? \[Y\/n\]$/m);
    await terminal.line("n");
    await terminal.until("[ended 1]");
  },
});
