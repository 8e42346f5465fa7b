/** Settles a group in a process of its own, so that a test can kill it: what is wanted comes on standard input. */
import { text } from "node:stream/consumers";
import type { GroupSpec } from "../components/tenants/spec.ts";
import { TestStack } from "./lib.ts";
import { settle } from "./tenants.ts";

interface Given {
    readonly dir: string;
    readonly stack: string;
    readonly group: GroupSpec;
    readonly files: Readonly<Record<string, string>>;
}

const { dir, stack, group, files } = JSON.parse(await text(process.stdin)) as Given;
const own = Reflect.construct(TestStack, [dir, stack, false]) as TestStack;
await settle(own, group, files);
await own.closeSessions();
