import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ccmOpen, ccmSeal, cmac, cmacSubkeys } from "../../transport/smb/aes_modes.ts";
import { concat, MalformedError, utf16 } from "../../transport/smb/cursor.ts";
import { Encryption } from "../../transport/smb/encryption.ts";
import { PreauthHash, sessionKeys } from "../../transport/smb/keys.ts";
import { DIALECT, type SigningName } from "../../transport/smb/negotiate.ts";
import { messageKey, NtlmClient, ntlmv2Response, ntowfv2, Rc4 } from "../../transport/smb/ntlm.ts";
import { makeSigner } from "../../transport/smb/signing.ts";
import { hex } from "./hex.ts";

Deno.test("AES-CMAC gives the values of RFC 4493, section 4", () => {
  const key = hex("2b7e151628aed2a6abf7158809cf4f3c");
  const { whole, padded } = cmacSubkeys(key);
  assertEquals(whole, hex("fbeed618357133667c85e08f7236a8de"));
  assertEquals(padded, hex("f7ddac306ae266ccf90bc11ee46d513b"));
  const message = hex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
      "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
  );
  for (
    const [size, mac] of [
      [0, "bb1d6929e95937287fa37d129b756746"],
      [16, "070a16b46b4d4144f79bdd9dd04a287c"],
      [40, "dfa66747de9ae63030ca32611497c827"],
      [64, "51f0bebf7e3b9d92fc49741779363cfe"],
    ] as const
  ) {
    assertEquals(new Uint8Array(cmac(key, message.subarray(0, size))), hex(mac));
  }
});

Deno.test("NTLMv2 gives the values of MS-NLMP, section 4.2.4", () => {
  const responseKey = ntowfv2({ username: "User", password: "Password", domain: "Domain" });
  assertEquals(responseKey, hex("0c868a403bfd7a93a3001ef22ef02e3f"));
  const targetInfo = hex(
    "02000c0044006f006d00610069006e0001000c005300650072007600650072" + "0000000000",
  );
  const { response, sessionBaseKey } = ntlmv2Response(
    responseKey,
    hex("0123456789abcdef"),
    hex("aaaaaaaaaaaaaaaa"),
    0n,
    targetInfo,
  );
  assertEquals(response.slice(0, 16), hex("68cd0ab851e51c96aabc927bebef6a1c"));
  assertEquals(sessionBaseKey, hex("8de40ccadbc14a82f15cb0ad0de95ca3"));
  const random = hex("55555555555555555555555555555555");
  assertEquals(
    new Rc4(sessionBaseKey).update(random),
    hex("c5dad2544fc9799094ce1ce90bc9d03e"),
  );
  assertEquals(
    messageKey(random, "client", "signing"),
    hex("4788dc861b4782f35d43fd98fe1a2d39"),
  );
  assertEquals(
    messageKey(random, "client", "sealing"),
    hex("59f600973cc4960a25480a7c196e4c58"),
  );
});

Deno.test("an NTLM login refuses a challenge that is short, cut off or weak", () => {
  const login = () => new NtlmClient({ username: "u", password: "p", domain: "" }, "cifs/host");
  const challenge = new Uint8Array(56 + 4);
  challenge.set(new TextEncoder().encode("NTLMSSP\0"));
  const view = new DataView(challenge.buffer);
  view.setUint32(8, 2, true);
  view.setUint32(20, 0x62898215 | 0x800000, true);
  view.setUint16(40, 4, true);
  view.setUint32(44, 56, true);
  const client = login();
  client.negotiate();
  assert(client.authenticate(challenge).length > 88);

  for (let size = 0; size < challenge.length; size++) {
    assertThrows(() => login().authenticate(challenge.slice(0, size)), MalformedError);
  }
  view.setUint32(44, 58, true);
  assertThrows(() => login().authenticate(challenge), MalformedError);
  view.setUint32(44, 56, true);
  view.setUint32(20, 0x00008215, true);
  assertThrows(() => login().authenticate(challenge), MalformedError, "weak");
});

Deno.test("the keys of a 3.0 session are those of Microsoft's example", () => {
  const keys = sessionKeys(
    DIALECT.v300,
    hex("7CD451825D0450D235424E44BA6E78CC"),
    new Uint8Array(64),
    1,
  );
  assertEquals(keys.signing, hex("0B7E9C5CAC36C0F6EA9AB275298CEDCE"));
  assertEquals(keys.clientToServer, hex("FAD27796665B313EBB578F388632B4F7"));
  assertEquals(keys.serverToClient, hex("B0F0427F7CEB416D1D9DCC0CD4F99447"));
});

const PREAUTH = hex(
  "0DD13628CC3ED218EF9DF9772D436D0887AB9814BFAE63A80AA845F36909DB79" +
    "28622DDDAD522D9751640A459762C5A9D6BB084CBB3CE6BDADEF5D5BCE3C6C01",
);

Deno.test("the keys of a 3.1.1 session, and a signature, are those of Microsoft's example", async () => {
  const keys = sessionKeys(DIALECT.v311, hex("270E1BA896585EEB7AF3472D3B4C75A7"), PREAUTH, 2);
  assertEquals(keys.signing, hex("73FE7A9A77BEF0BDE49C650D8CCB5F76"));
  const message = hex(`
    FE534D4240000100000000000100800009000000000000000300000000000000FFFE000000000000
    1900000000100000EBE146DA120BA25FC3376A49DFE31BC10900000048001D00A11B3019A0030A01
    00A3120410010000003B453CDC3524164200000000`);
  const signer = await makeSigner("AES-CMAC", keys.signing);
  assert(await signer.verify(message.slice()));
  for (const at of [0, 30, 63, 64, message.length - 1]) {
    const changed = message.slice();
    changed[at]! ^= 1;
    assert(!await signer.verify(changed), `byte ${at}`);
  }
});

Deno.test("AES-256 ciphers get keys of 32 bytes", () => {
  const keys = sessionKeys(DIALECT.v311, hex("270E1BA896585EEB7AF3472D3B4C75A7"), PREAUTH, 4);
  assertEquals(keys.clientToServer!.length, 32);
  assertEquals(keys.serverToClient!.length, 32);
  assertEquals(keys.signing.length, 16);
});

Deno.test("the pre-authentication hash is SHA-512 over what came before and the message", async () => {
  const hash = new PreauthHash();
  assertEquals(hash.value, new Uint8Array(64));
  const first = Uint8Array.of(1, 2, 3);
  hash.update(first);
  const expected = await crypto.subtle.digest("SHA-512", concat(new Uint8Array(64), first));
  assertEquals(hash.value, new Uint8Array(expected));
});

Deno.test("AES-CCM gives the transformed WRITE of Microsoft's 3.0 example", () => {
  const key = hex("261B72350558F2E9DCF613070383EDBF");
  const nonce = hex("66E69A111892584FB5ED52");
  const data = hex("66E69A111892584FB5ED524A744DA3EE87000000000001001100001400E40800");
  const plain = hex(`
    FE534D4240000100000000000900400008000000000000000400000000000000
    FFFE0000010000001100001400E4080000000000000000000000000000000000
    3100700017000000000000000000000015010000390000020100000039020000
    00000000000000007000000000000000536D623320656E6372797074696F6E20
    74657374696E67`);
  const { text, tag } = ccmSeal(key, nonce, data, plain);
  assertEquals(new Uint8Array(tag), hex("81A286535415445DAE393921E44FA42E"));
  assertEquals(
    new Uint8Array(text),
    hex(`
      25C8FEE16605A437832D1CD52DA9F4645333482A175FE5384563F45FCDAFAEF3
      8BC62BA4D5C62897996625A44C29BE5658DE2E6117585779E7B59FFD971278D0
      8580D7FA899E410E910EABF5AA1DB43050B33B49182637759AC15D84BFCDF5B6
      B238993C0F4CF4D6012023F6C627297075D84B7803912D0A9639634453595EF3
      E33FFE4E7AC2AB`),
  );
  assertEquals(new Uint8Array(ccmOpen(key, nonce, data, text, tag)!), plain);
  tag[3]! ^= 1;
  assertEquals(ccmOpen(key, nonce, data, text, tag), null);
});

/** Microsoft's example of a 3.1.1 session with AES-128-GCM. */
const GCM = {
  sessionId: 0x100000000025n,
  sessionKey: hex("419FDDF34C1E001909D362AE7FB6AF79"),
  preauth: hex(
    "B23F3CBFD69487D9832B79B1594A367CDD950909B774C3A4C412B4FCEA9EDDDB" +
      "A7DB256BA2EA30E977F11F9B113247578E0E915C6D2A513B8F2FCA5707DC8770",
  ),
  request: hex(`
    FD534D42BD73D97D2BC9001BCAFAC0FDFF5FEEBCC7D6822D269CAF48904C664C0000000087000000
    0000010025000000001000006ECDD2A7AFC7B47763057A041B8FD4DAFFE990B70C9E09D36C084E02
    D14EF247F8BDE38ACF6256F8B1D3B56F77FBDEB312FEA5E92CBCC1ED8FB2EBBFAA75E49A4A394BB4
    4576545567C24D4C014D47C9FBDFDAFD2C4F9B72F8D256452620A299F48E29E53D6B61D1C13A19E9
    1AF013F00D17E3ABC2FC3D36C8C1B6B93973253852DBD442E46EE8`),
  response: hex(`
    FD534D42ACBE1CB7ED343ADF1725EF144D90D4B0E06831DD2E8EB7B4000000000000000050000000
    00000100250000000010000026BBBF949983A6C1C796559D0F2C510CB651D1F7B6AC8DED32A2A0B8
    F2D793A815C6F6B848D69767A215841A42D400AE6DDB5F0B44173A014973321FDD7950DA6179159B
    82E03C9E18A050FF0EA1C967`),
  plainResponse: hex(`
    FE534D4240000100000000000900010001000000000000000500000000000000FFFE000001000000
    25000000001000000000000000000000000000000000000011000000170000000000000000000000`),
};

Deno.test("AES-GCM opens the messages of Microsoft's 3.1.1 example", async () => {
  const keys = sessionKeys(DIALECT.v311, GCM.sessionKey, GCM.preauth, 2);
  assertEquals(keys.clientToServer, hex("A2F5E80E5D59103034F32E52F698E5EC"));
  assertEquals(keys.serverToClient, hex("748C50868C90F302962A5C35F5F9A8BF"));
  const { clientToServer, serverToClient } = keys;
  const client = await Encryption.make(GCM.sessionId, 2, clientToServer!, serverToClient!);
  const server = await Encryption.make(GCM.sessionId, 2, serverToClient!, clientToServer!);
  assertEquals(await client.open(GCM.response), GCM.plainResponse);
  const request = await server.open(GCM.request);
  assertEquals(new TextDecoder().decode(request.subarray(-23)), "Smb3 encryption testing");

  for (const at of [4, 20, 36, 42, 44, 52, GCM.response.length - 1]) {
    const changed = GCM.response.slice();
    changed[at]! ^= 1;
    await assertRejects(async () => await client.open(changed), MalformedError);
  }
  await assertRejects(async () => await client.open(GCM.response.slice(0, 51)), MalformedError);
  await assertRejects(async () => await client.open(GCM.response.slice(0, -1)), MalformedError);
});

for (const cipher of [1, 2, 3, 4] as const) {
  Deno.test(`cipher ${cipher}: small and large messages come back, each with another nonce`, async () => {
    const size = cipher < 3 ? 16 : 32;
    const [a, b] = [new Uint8Array(size).fill(1), new Uint8Array(size).fill(2)];
    const client = await Encryption.make(7n, cipher, a, b);
    const server = await Encryption.make(7n, cipher, b, a);
    const nonces = new Set<string>();
    for (const length of [64, 8191, 8192, 100_000]) {
      const frame = new Uint8Array(4 + length).map((_, i) => i);
      const sealed = await client.seal(frame);
      nonces.add(sealed.slice(24, 36).join());
      assertEquals(await server.open(sealed.slice(4)), frame.slice(4));
      const forged = sealed.slice(4);
      forged[forged.length - 1]! ^= 1;
      await assertRejects(async () => await server.open(forged), MalformedError);
    }
    assertEquals(nonces.size, 4);
  });
}

for (const algorithm of ["HMAC-SHA256", "AES-CMAC", "AES-GMAC"] satisfies SigningName[]) {
  Deno.test(`${algorithm}: a signature covers every byte of small and large messages`, async () => {
    const signer = await makeSigner(algorithm, new Uint8Array(16).fill(9));
    for (const size of [64, 65, 16_383, 16_384, 70_001]) {
      const message = new Uint8Array(size).map((_, i) => i);
      await signer.sign(message);
      assertEquals(message[16]! & 8, 8);
      const good = message.slice();
      assert(await signer.verify(message.slice()));
      for (const at of [0, 16, 24, 48, 63, size - 1]) {
        const changed = good.slice();
        changed[at]! ^= 1;
        assert(!await signer.verify(changed), `byte ${at} of ${size}`);
      }
    }
  });
}

Deno.test("AES-CMAC on another thread is AES-CMAC", async () => {
  const key = new Uint8Array(16).fill(3);
  const signer = await makeSigner("AES-CMAC", key);
  for (const size of [16_384, 20_001]) {
    const message = new Uint8Array(size).map((_, i) => i * 3);
    await signer.sign(message);
    const signature = message.slice(48, 64);
    message.fill(0, 48, 64);
    assertEquals(new Uint8Array(cmac(key, message)), signature);
  }
});

Deno.test("names are UTF-16, and only letters with an upper case of one unit change", () => {
  assertEquals(utf16("aß€"), hex("6100df00ac20"));
  const upper = (username: string) => ntowfv2({ username, password: "p", domain: "D" });
  assertEquals(upper("straße"), upper("STRAßE"));
});
