/**
 * A caller that speaks nonsense: the agent says so and ends, or says that the call failed; it neither hangs nor stays.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { PYTHON } from "./pythons.ts";
import { chunk, converse, frame, joined, REST } from "./raw_agent.ts";

const ignore = PYTHON === undefined;

/** A call with one argument, as it is on the wire. */
const passing = (argument: string) => frame(`[[2,1,0,["eval"],1,[0,${argument}],1]]`);

const ENDS: [name: string, bytes: Uint8Array][] = [
  ["text that is no JSON", frame("[[1,2")],
  ["text that is no UTF-8", frame(new Uint8Array([91, 91, 34, 255, 34, 93, 93]))],
  ["JSON that is no array of messages", frame('{"a":1}')],
  ["a number that JSON does not have", frame('[[2,1,0,["eval"],1,[NaN]]]')],
  ["text behind the JSON", frame("[]]")],
  ["an unknown message", frame("[[99]]")],
  ["a message whose kind is a list", frame("[[[1]]]")],
  ["a message without its parts", frame("[[2]]")],
  ["a call whose number is not new", frame('[[2,1,0,["eval"],1,["1"]],[2,1,0,["eval"],1,["1"]]]')],
  ["a call whose number is zero", frame('[[2,0,0,["eval"],1,["1"]]]')],
  ["a call whose number is a fraction", frame('[[2,1.5,0,["eval"],1,["1"]]]')],
  ["a call whose number is true", frame('[[2,true,0,["eval"],1,["1"]]]')],
  ["a call whose target is a text", frame('[[2,1,"x",["eval"],1,["1"]]]')],
  ["a call whose parent is a list", frame('[[2,1,0,["eval"],1,["1"],0,[1]]]')],
  ["a reference that nobody holds", frame("[[2,1,-77,[],0]]")],
  ["a result that nobody holds", frame("[[2,1,55,[],0]]")],
  ["a result that is asked for twice", frame('[[2,1,0,["eval"],1,["1"]],[3,1]]')],
  ["a result that was never called for", frame("[[3,9]]")],
  ["a value of an unknown kind", passing('["?"]')],
  ["a value that names what is not there", passing('["#",5]')],
  ["a value that names nothing", passing("[]")],
  ["a reference that was never given", passing('["r",-9]')],
  ["bytes that are missing", passing('["b","Uint8Array",0,500]')],
  ["bytes of a negative length", passing('["b","Uint8Array",0,-5]')],
  ["an array of a kind that there is not", passing('["b","Evil64Array",0,0]')],
  ["an error without its parts", passing('["e","x"]')],
  ["a map whose last key has no value", passing('["m",1]')],
  ["a number of holes that is none", passing('[0,["h","x"]]')],
  ["a big integer that is none", passing('["i","xyz"]')],
  ["a live value that was not opened", passing('["=",3]')],
  ["a blob larger than the limit", frame('[[2,1,0,["eval"],1,[0],1,0,[1,99999999999]]]')],
  ["a blob of nothing", frame('[[2,1,0,["eval"],1,[0],1,0,[1,0]]]')],
  ["a blob on a negative channel", frame('[[2,1,0,["eval"],1,[0],1,0,[-1,5]]]')],
  ["two blobs on one channel", frame('[[2,1,0,["eval"],1,[0],1,0,[1,5,1,5]]]')],
  [
    "more bytes than a blob was to have",
    joined(frame('[[2,1,0,["eval"],1,[0],1,0,[1,5]]]'), chunk(1, new Uint8Array(6))),
  ],
  ["a stream that is opened twice", passing('["R",1,1],["R",1,1]')],
  [
    "a stream that sends more than it may",
    joined(
      frame('[[2,1,0,["eval"],1,[0,["R",1,1]],1]]'),
      ...Array.from({ length: 12 }, () => chunk(1, new Uint8Array(100_000))),
    ),
  ],
  ["a frame larger than the limit", new Uint8Array([255, 255, 255, 127, 0, 0, 0, 0, 0, 0, 0, 0])],
  ["a text longer than its frame", new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 91])],
  ["a chunk of a channel that is not open", chunk(9, new Uint8Array(1))],
  ["items of a channel that is not open", frame("[[9,5,1,[1]]]")],
  ["the end of a channel that is not open", frame("[[10,5,0]]")],
  ["the stop of a channel that is not open", frame("[[11,5,1]]")],
  ["credit for a channel that was never open", frame("[[8,5,100]]")],
  [
    "what is nested too deep",
    frame(`[[2,1,0,["eval"],1,${"[".repeat(100000)}${"]".repeat(100000)}]]`),
  ],
  ["a number beyond all limits", frame(`[[2,1,0,["eval"],1,[${"9".repeat(100000)}]]]`)],
  ["an answer to no question", frame("[[4,1,null]]")],
  ["a pong to no ping", frame("[[15,1]]")],
  ["an acknowledgement of nothing", frame("[]", undefined, 5)],
  ["too much given back", frame("[[6,[-1,1]]]")],
  ["a list of what is given back that ends early", frame('[[2,1,0,["eval"],1,["1"]],[6,[-1]]]')],
  ["limits that are no record", frame('[[16,{"limits":7}]]')],
  [
    "more calls than the limit",
    frame(
      `[[16,{"limits":{"pendingCalls":9}}],${
        Array.from({ length: 10 }, (_, i) => `[1,${i + 1},0,["eval"],1,["1"]]`)
      }]`,
    ),
  ],
  [
    "more references than the limit",
    frame(
      `[[16,{"limits":{"references":9}}],[2,1,0,["eval"],1,[0,${
        Array.from({ length: 12 }, (_, i) => `["r",${i + 1},1,"f"]`)
      }],1]]`,
    ),
  ],
  [
    "more streams than the limit",
    frame(
      `[[16,{"limits":{"channels":9}}],[2,1,0,["eval"],1,[0,${
        Array.from({ length: 12 }, (_, i) => `["R",${i + 1},1]`)
      }],1]]`,
    ),
  ],
];

/** What needs the rest of the agent, before that has come; and what is wrong with the rest itself. */
const WITHOUT_REST: [name: string, bytes: Uint8Array][] = [
  ["an object before the rest", passing('["r",1,1,"f"]')],
  ["a stream before the rest", passing('["R",1,1]')],
  ["a promise before the rest", passing('["P",1]')],
  ["items of a channel before the rest", frame("[[9,1,1,[1]]]")],
  ["a chunk of a channel before the rest", chunk(1, new Uint8Array(1))],
  ["an answer before the rest", frame("[[4,1,null]]")],
  ["the rest twice", joined(REST, REST)],
  ["a rest that is no Python", frame('[[19,"p","def"]]')],
  ["a rest that cannot be unpacked", frame('[[19,"d","AAAA"]]')],
  ["a rest that is a number", frame('[[19,"p",5]]')],
];

const HOSTILE = [
  ...ENDS.map(([name, bytes]): typeof ENDS[0] => [name, joined(REST, bytes)]),
  ...WITHOUT_REST,
];

for (const [name, bytes] of HOSTILE) {
  Deno.test({
    name: `hostile: ${name} ends the agent`,
    ignore,
    fn: async () => {
      const { output, success } = await converse(bytes);
      assert(output.includes("[17,"), output);
      assertEquals(success, false);
    },
  });
}

const FAILS: [name: string, call: string][] = [
  ["a path that is a text", '"eval",1,["1"]'],
  ["a path of numbers", "[5],0"],
  ["a way of calling that there is not", '["eval"],77,["1"]'],
  ["a way of calling that is a text", '["eval"],"x",["1"]'],
  ["arguments that are no list", '["eval"],1,{"a":1}'],
  ["arguments that are nothing", '["eval"],1,null'],
  ["a path into what is private to the table", '["__class__","__init__","x"],0'],
];

for (const [name, call] of FAILS) {
  Deno.test({
    name: `hostile: ${name} is the call's error, and the agent goes on`,
    ignore,
    fn: async () => {
      const { output } = await converse(
        frame(`[[2,1,0,${call}],[2,2,0,["eval"],1,["'still ' + 'here'"]]]`),
        (output) => output.includes("[5,1,") && output.includes('"still here"]'),
      );
      assert(output.includes("[5,1,"), output);
      assert(output.includes('[4,2,"still here"]'), output);
      assert(!output.includes("[17,"), output);
    },
  });
}

Deno.test({
  name: "hostile: messages that were changed at random end the agent or are answered",
  ignore,
  fn: async () => {
    const messages = [
      '[16,{"limits":{"depth":100}}]',
      '[2,1,0,["eval"],1,["[1, 2]"]]',
      '[1,2,0,["modules","os"],0]',
      '[2,3,2,["getcwd"],1,[]]',
      '[2,4,0,["eval"],1,[0,["m","k",[0,["#",0]]],["d",0],["r",1,1,"f"]],1,0]',
      "[7,4],[8,-1,9],[6,[-1,1]],[14,1]",
    ].join(",");
    let seed = 20;
    const random = (n: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
    const pieces = [
      '"x"',
      "-1",
      "[",
      "]",
      "null",
      "1e999",
      "99999999999999999999",
      "{}",
      '"#"',
      ",",
    ];
    const changed = Array.from({ length: 60 }, () => {
      const at = random(messages.length);
      return messages.slice(0, at) + pieces[random(pieces.length)] +
        messages.slice(at + random(4));
    });
    const check = async (text: string) => {
      const after = frame("[[2,1000,0,[\"eval\"],1,[\"'still ' + 'here'\"]]]");
      const { output, success } = await converse(
        joined(frame(`[${text}]`), after),
        (output) => output.includes("[17,") || output.includes('"still here"]'),
      );
      assert(output.includes("PUSHY/1"), text);
      assert(output.includes("[17,") || output.includes('"still here"]'), `${text}: ${output}`);
      assertEquals(success, false);
    };
    for (let i = 0; i < changed.length; i += 4) {
      await Promise.all(changed.slice(i, i + 4).map(check));
    }
  },
});
