import { assertEquals, assertMatch } from "@std/assert";
import { daemon, makeCertificates } from "../daemon/servers.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { pushy } from "./terminal.ts";

Deno.test({
  name:
    "a daemon with an authority of its own: by flags, by variables, and the hints name the flags",
  ...requires("openssl"),
  fn: async () => {
    await using guard = leakGuard();
    const { ca, cert, key, clientCert, clientKey } = await makeCertificates(guard.folder);
    const token = "of this test";
    const env = { ...guard.env, PUSHY_TOKEN: token };
    await using server = await daemon({ tls: { cert, key }, token });
    const target = `daemon:localhost:${server.port}`;
    const flags = ["--tls-ca", ca];
    assertEquals((await pushy(["eval", target, "6 * 7", ...flags], { env })).stdout, "42\n");
    const variables = { ...env, PUSHY_TLS_CA: ca, PUSHY_TLS_NAME: "named.example" };
    const address = `daemon:127.0.0.1:${server.port}`;
    assertEquals((await pushy(["doctor", address], { env: variables })).code, 0);
    assertEquals(
      (await pushy(["ping", address, "--count", "1", ...flags, "--tls-name", "named.example"], {
        env,
      })).code,
      0,
    );
    // They are of no interest to others.
    assertEquals((await pushy(["eval", "local:", "1"], { env: variables })).stdout, "1\n");
    const stranger = await pushy(["eval", target, "1", "--tls-name", "localhost"], { env });
    assertMatch(
      stranger.stderr,
      /no authority that is trusted here\n[^]*hint: .* --tls-ca ca\.pem/,
    );
    const other = await pushy(["eval", target, "1", ...flags, "--tls-name", "x.example"], { env });
    assertMatch(other.stderr, /not for the name x\.example\n[^]*hint: .* --tls-name/);
    await using strict = await daemon({ tls: { cert, key, clientCa: ca } });
    const own = ["--tls-cert", clientCert, "--tls-key", clientKey];
    const place = `daemon:localhost:${strict.port}`;
    const { stdout, stderr } = await pushy(["eval", place, "6 * 7", ...flags, ...own], {
      env: guard.env,
    });
    assertEquals([stdout, stderr], ["42\n", ""]);
    const nobody = await pushy(["eval", place, "1", ...flags], { env: guard.env });
    assertMatch(nobody.stderr, /hint: .*--tls-cert and --tls-key/);
  },
});
