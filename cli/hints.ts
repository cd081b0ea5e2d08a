/**
 * Hints in the words of the command line. The library's errors name options of `connect()` and of copies; whoever types a
 * command has flags and variables. This is the one place that knows both.
 *
 * @module
 */

/** What the library says, and what it is called here. What holds another comes before it. */
const WORDS: readonly (readonly [said: RegExp | string, here: string])[] = [
  [/connect with \{ runtime: "(\w+)" \}/g, "use --runtime $1"],
  ["{ interpreter }", "--interpreter"],
  [", or { anonymous: true } where the server allows it", ""],
  ["Pass { username, password }", "Name the user with --user, and use --ask-password"],
  [/\{ tls: \{ caCerts: \["ca\.pem"\] \} \}/g, "--tls-ca ca.pem"],
  ["{ tls: { serverName } }", "--tls-name"],
  ["{ tls: { cert, key } }", "--tls-cert and --tls-key"],
  ["{ tls: false }", "--no-tls"],
  ["See the options tls and port", "See --tls-ca and --port"],
  ["as { token }, or in PUSHY_TOKEN", "in PUSHY_TOKEN, or its file in PUSHY_TOKEN_FILE"],
  ["the server's clientCa names", "the server's --tls-client-ca names"],
  ["See allowUsers of the server", "See --allow-user of the server"],
  ['missingHostKeyPolicy: "autoadd"', "--ssh-option StrictHostKeyChecking=accept-new"],
  ["Use useNative: true, or put", "Log in without a password, by OpenSSH's client, or put"],
  ["Use useNative: true; OpenSSH's client", "Log in without a password: OpenSSH's client then"],
  ["A password is given with password.", "--ask-password asks for a password."],
  ["identityFile", "--identity"],
  ["connectTimeout", "--timeout"],
  ["{ recursive: true }", "-r"],
  ['{ special: "skip" }', "--special skip"],
  ['{ links: "skip" }', "--links skip"],
];

/** A hint of the library's, for whoever types a command. */
export function hintHere(hint: string): string {
  return WORDS.reduce((text, [said, here]) => text.replaceAll(said, here), hint);
}

/** The message of an error of the library's, with its hint for whoever types a command. */
export function messageHere(message: string): string {
  return message.replace(/^ {2}hint: .*$/gm, hintHere);
}
