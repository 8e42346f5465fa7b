/** A resource's own row in Pulumi's display. */
import * as pulumi from "@pulumi/pulumi";
import { paced } from "../core/util/paced.ts";
import type { Ask } from "./kind.ts";

/** Texts of one stream take each other's place. */
const STREAM = 1;

export interface Row extends Ask {
    /** Ends when the engine has everything that was said. */
    readonly told: () => Promise<void>;
}

/** Says what is said of a resource through the engine's log. */
export function rowOf(urn: string): Row {
    const resource = new pulumi.DependencyResource(urn);
    // the SDK sends them in order
    let told = Promise.resolve();
    return {
        urn,
        progress: paced((text) => {
            told = pulumi.log.info(text, resource, STREAM, true);
        }),
        note: (text) => {
            told = pulumi.log.info(text, resource);
        },
        warn: (text) => {
            told = pulumi.log.warn(text, resource);
        },
        told: () => told,
    };
}
