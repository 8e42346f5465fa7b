/** What a kind is asked with in tests. */
import type { Ask } from "../../provider/kind.ts";

/** @param said what is said is added to it */
export function ask(said: string[] = []): Ask {
    const say = (text: string) => {
        said.push(text);
    };
    return { urn: "urn:pulumi:test::citus::a$b::c", progress: () => undefined, note: say, warn: say };
}
