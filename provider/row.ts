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
    // most questions are answered without a word
    let resource: pulumi.Resource | undefined;
    const row = () => {
        resource ??= new pulumi.DependencyResource(urn);
        return resource;
    };
    // the SDK sends them in order
    let told = Promise.resolve();
    return {
        urn,
        progress: paced((text) => {
            told = pulumi.log.info(text, row(), STREAM, true);
        }),
        note: (text) => {
            told = pulumi.log.info(text, row());
        },
        warn: (text) => {
            told = pulumi.log.warn(text, row());
        },
        told: () => told,
    };
}
