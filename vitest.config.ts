import { defineConfig } from "vitest/config";

const SECOND = 1000;
/** Tests on real engines end by themselves or are ended by who started them. */
const NEVER = 0;

/** The documentation of what a program gives a cluster. */
const ARGUMENTS = "test/components/config/args.test.ts";

/** Two at a time: what is made on an engine needs the machine's cores itself. */
const real = (name: string, ...include: string[]) => ({
    extends: true as const,
    test: { name, include, testTimeout: NEVER, hookTimeout: NEVER, teardownTimeout: 60 * SECOND, maxWorkers: 2 },
});

export default defineConfig({
    test: {
        // what is tested is what runs: Node.js loads it, and nothing rewrites it
        experimental: { viteModuleRunner: false },
        pool: "forks",
        projects: [
            {
                extends: true,
                test: {
                    name: "house",
                    include: ["test/repository/{docs,floors}.test.ts", ARGUMENTS],
                    testTimeout: 60 * SECOND,
                },
            },
            {
                extends: true,
                test: {
                    name: "unit",
                    include: ["test/{bench,client,components,core,provider,repository,scripts}/**/*.test.ts"],
                    exclude: ["test/repository/{docs,floors}.test.ts", ARGUMENTS],
                    testTimeout: 60 * SECOND,
                    hookTimeout: 60 * SECOND,
                },
            },
            real("e2e", "test/e2e/**/*.test.ts"),
            real("full", "test/full/**/*.test.ts"),
            real("chaos", "test/chaos/**/*.test.ts"),
            real("aws", "test/aws/**/*.test.ts"),
        ],
    },
});
