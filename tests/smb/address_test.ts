import { assertEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../transport/smb/address.ts";
import { pipePath } from "../../transport/smb/native.ts";
import { STATUS, statusName } from "../../transport/smb/ntstatus.ts";

Deno.test("addresses: host, host:port, IPv6 and UNC", () => {
  assertEquals(parseAddress("host"), { host: "host" });
  assertEquals(parseAddress("host.example:4450"), { host: "host.example", port: 4450 });
  assertEquals(parseAddress("192.0.2.7"), { host: "192.0.2.7" });
  assertEquals(parseAddress("[::1]"), { host: "::1" });
  assertEquals(parseAddress("[fe80::1%eth0]:445"), { host: "fe80::1%eth0", port: 445 });
  assertEquals(parseAddress("2001:db8::7"), { host: "2001:db8::7" });
  assertEquals(parseAddress("\\\\host"), { host: "host" });
  assertEquals(parseAddress("\\\\host\\"), { host: "host" });
  assertEquals(parseAddress("//host"), { host: "host" });
  assertEquals(parseAddress("\\\\host\\pipe\\other"), { host: "host", pipe: "other" });
  assertEquals(parseAddress("\\\\host\\PIPE\\a\\b"), { host: "host", pipe: "a\\b" });
});

Deno.test("addresses that are none are refused", () => {
  const wrong = [
    "",
    ":445",
    "\\\\",
    "host:",
    "host:x",
    "host:70000",
    "host/pipe/x",
    "-x",
    "a b",
    "a\0",
  ];
  for (const address of wrong) assertThrows(() => parseAddress(address), TypeError, "address");
});

Deno.test("a pipe of this machine is opened without the network", () => {
  assertEquals(pipePath("host", "pushy"), "\\\\host\\pipe\\pushy");
  assertEquals(pipePath("localhost", "pushy"), "\\\\.\\pipe\\pushy");
  assertEquals(pipePath("127.0.0.1", "pushy"), "\\\\.\\pipe\\pushy");
});

Deno.test("statuses have names", () => {
  assertEquals(statusName(STATUS.LOGON_FAILURE), "STATUS_LOGON_FAILURE");
  assertEquals(statusName(0), "STATUS_SUCCESS");
  assertEquals(statusName(0xc0ffee00), "NTSTATUS 0xC0FFEE00");
});
