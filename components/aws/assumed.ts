/** Stands for userData.ts and bundle.ts until they are there. */

/** What a machine is told about itself. */
export interface NodeFacts {
    readonly region: string;
    readonly bucket: string;
    readonly base: string;
    readonly cluster: string;
    readonly node: string;
    readonly role: string;
    readonly volumeId: string;
    readonly secret: string;
    readonly alarms: boolean;
    readonly citusVersion: string;
}

export const readLauncher = () => "#!/bin/sh\n";

export function renderUserData(facts: NodeFacts, launcher: string): string {
    return `${launcher}${Object.entries(facts)
        .map(([key, value]) => `${key}=${value}\n`)
        .join("")}`;
}

export async function makeBundle(): Promise<{ sha256: string; content: Buffer }> {
    return { sha256: "0".repeat(64), content: Buffer.from("") };
}
