/**
 * The fingerprint of a public key, as OpenSSH prints it.
 *
 * @module
 */

/** Gives `SHA256:` and the unpadded base64 of the digest of a public key's wire form. */
export async function fingerprintOf(key: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(key)));
  return `SHA256:${btoa(String.fromCharCode(...digest)).replace(/=+$/, "")}`;
}
