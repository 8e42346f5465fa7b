/**
 * A dynamic provider that holds no logic: its methods import the module that does. What Pulumi stores in the state is
 * this text, so state never carries old code and a delete runs today's.
 */
import type * as pulumi from "@pulumi/pulumi";

/** @param module path inside the project of a module that exports the provider's methods, e.g. `components/hooks/impl/member.ts` */
export function thinProvider(module: string): pulumi.dynamic.ResourceProvider {
    const load = async () => {
        if (!(process.features as { typescript?: unknown }).typescript) {
            throw new Error(
                `Node.js ${process.version} can't load ${module}: put Node.js 22.18 or newer first on PATH (npm scripts bring their own).`,
            );
        }
        // what goes wrong is said in words; the way there is for who debugs this project
        if (!process.env.CITUS_DEBUG) Error.stackTraceLimit = 0;
        // package.json has no "type", because Pulumi loads the program itself as CommonJS
        const emit = process.emitWarning as (...args: unknown[]) => void;
        (process as { emitWarning: unknown }).emitWarning = (...args: unknown[]) => {
            if ((args[1] as { code?: string } | undefined)?.code !== "MODULE_TYPELESS_PACKAGE_JSON")
                emit.apply(process, args);
        };
        return import(`file://${process.cwd()}/${module}`);
    };
    return {
        diff: async (id, olds, news) => (await load()).diff(id, olds, news),
        create: async (inputs) => (await load()).create(inputs),
        read: async (id, props) => (await load()).read(id, props),
        update: async (id, olds, news) => (await load()).update(id, olds, news),
        delete: async (id, props) => (await load()).remove(id, props),
    };
}
