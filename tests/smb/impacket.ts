/** Impacket, an SMB client of others, as a second opinion and as a yardstick. */

const CANDIDATES = ["/usr/bin/python3", "python3"];

/** A Python that has Impacket, or the reason why there is none. */
export async function findImpacket(): Promise<{ python: string } | { missing: string }> {
  for (const python of CANDIDATES) {
    try {
      const { success } = await new Deno.Command(python, {
        args: ["-c", "import impacket.smbconnection"],
        stdout: "null",
        stderr: "null",
      }).output();
      if (success) return { python };
    } catch {
      // There is no such Python.
    }
  }
  return { missing: "not installed: python3-impacket" };
}

const PROGRAM = `
import json, sys, time
from impacket.smbconnection import SMBConnection

port, user, password, echoes, blobs = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
connection = SMBConnection("127.0.0.1", "127.0.0.1", sess_port=port)
connection.login(user, password)
tree = connection.connectTree("IPC$")
file = connection.openFile(tree, "pushy")

def echo(data):
    connection.writeFile(tree, file, data)
    got = b""
    while len(got) < len(data):
        got += connection.readFile(tree, file, 0, len(data) - len(got))
    assert got == data, "not what was sent"

echo(b"hello")
times = []
for i in range(echoes):
    begin = time.perf_counter()
    echo(b"x" * 64)
    times.append((time.perf_counter() - begin) * 1e6)
blob = bytes(range(256)) * 234
begin = time.perf_counter()
for i in range(blobs):
    echo(blob)
seconds = time.perf_counter() - begin
times.sort()
print(json.dumps({
    "p50": times[len(times) // 2] if times else None,
    "rate": blobs * len(blob) / seconds / 1e6 if blobs else None,
}))
`;

/** Echoes through the pipe with Impacket: `p50` in µs, `rate` in MB/s. */
export async function runImpacket(
  python: string,
  port: number,
  user: string,
  password: string,
  { echoes, blobs }: { echoes: number; blobs: number },
): Promise<{ p50: number | null; rate: number | null }> {
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: ["-c", PROGRAM, `${port}`, user, password, `${echoes}`, `${blobs}`],
    env: { PYTHONDONTWRITEBYTECODE: "1" },
  }).output();
  if (!success) throw new Error(`Impacket: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}
