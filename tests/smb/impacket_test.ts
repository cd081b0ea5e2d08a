import { assert, assertEquals, assertRejects } from "@std/assert";
import { isAllowed } from "../../server/samba_pipe.ts";
import { findImpacket, runImpacket } from "./impacket.ts";
import { PASSWORD, Samba, SAMBA_MISSING, USER } from "./samba.ts";

const found = SAMBA_MISSING === undefined ? await findImpacket() : { missing: SAMBA_MISSING };
if ("missing" in found) console.log(`Impacket tests are skipped: ${found.missing}`);
const ignore = "missing" in found;
const python = "python" in found ? found.python : "";

Deno.test({
  name: "Impacket echoes through the server's end of the pipe",
  ignore,
  async fn() {
    await using samba = await Samba.start({ admit: (user) => isAllowed(user, [USER]) });
    const { p50, rate } = await runImpacket(python, samba.port, USER, PASSWORD, {
      echoes: 20,
      blobs: 5,
    });
    assert(p50 !== null && rate !== null);
    assertEquals(samba.users.map((user) => user.unixName), [USER]);
  },
});

Deno.test({
  name: "Impacket is turned away where its user is not allowed",
  ignore,
  async fn() {
    await using samba = await Samba.start({ admit: (user) => isAllowed(user, ["somebody-else"]) });
    await assertRejects(
      () => runImpacket(python, samba.port, USER, PASSWORD, { echoes: 1, blobs: 0 }),
      Error,
      "STATUS_",
    );
    assertEquals(samba.users, []);
  },
});
