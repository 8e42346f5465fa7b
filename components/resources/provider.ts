/**
 * A dynamic provider that holds no logic: its methods import the module that does. What Pulumi stores in the state is
 * this text, so state never carries old code and a delete runs today's.
 */
import type * as pulumi from "@pulumi/pulumi";

export interface ProviderOptions {
    /** The module exports `check`, which runs before a create is previewed. @default false */
    readonly checks?: boolean;
}

/** @param module path inside the project of a module that exports the provider's methods, e.g. `provider/member.ts` */
export function thinProvider(module: string, options: ProviderOptions = {}): pulumi.dynamic.ResourceProvider {
    const load = async (): Promise<Record<string, (...args: unknown[]) => Promise<never>>> => {
        if (!(process.features as { typescript?: unknown }).typescript) {
            throw new Error(
                `Node.js ${process.version} can't load ${module}: put Node.js 22.18 or newer first on PATH (npm scripts bring their own).`,
            );
        }
        // what goes wrong is said in words; the way there is for who debugs this project
        if (!process.env.CITUS_DEBUG) Error.stackTraceLimit = 0;
        const { pathToFileURL } = await import("node:url");
        return import(pathToFileURL(`${process.cwd()}/${module}`).href);
    };
    const call = async (method: string, ...args: unknown[]) => {
        try {
            return await (await load())[method]?.(...args);
        } catch (error) {
            if (error instanceof Error && !process.env.CITUS_DEBUG) {
                // Pulumi prints the stack beside the message
                error.stack = "";
                // and what a check, diff, read or delete threw once more than it shows it
                const print = console.error;
                const twice = `${error}: `;
                console.error = (...args: unknown[]) => {
                    if (args[0] !== twice) print.apply(console, args);
                };
            }
            throw error;
        }
    };
    return {
        ...(options.checks ? { check: async (olds, news) => (await call("check", olds, news)) as never } : {}),
        diff: async (id, olds, news) => (await call("diff", id, olds, news)) as never,
        create: async (inputs) => (await call("create", inputs)) as never,
        read: async (id, props) => (await call("read", id, props)) as never,
        update: async (id, olds, news) => (await call("update", id, olds, news)) as never,
        delete: async (id, props) => (await call("remove", id, props)) as never,
    };
}
