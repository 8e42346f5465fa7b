/** The image that everything is built on, and what it runs on. */
import type Docker from "dockerode";
import { ignoreMissing } from "../reach/docker/engine.ts";

/** What the engine said, without its own frame. */
const wordsOf = (error: Error) => error.message.replace(/^\(HTTP code \d+\) [\w ]+ - /, "").trim();

async function pull(docker: Docker, image: string, platform: string | undefined, progress: (text: string) => void) {
    const stream = await docker.pull(image, platform === undefined ? {} : { platform });
    await new Promise<void>((resolve, reject) => {
        docker.modem.followProgress(
            stream,
            (error: Error | null) => (error ? reject(error) : resolve()),
            ({ status = "", progress: part = "" }: { status?: string; progress?: string }) =>
                progress(`pulling ${image}: ${status} ${part}`.trim()),
        );
    });
}

/**
 * Pulls the base where it is missing.
 * @returns the platform that it is for, such as `linux/amd64`
 * @throws Error when it can't be had
 */
export async function ensureBase(docker: Docker, base: string, progress: (text: string) => void): Promise<string> {
    const here = () => docker.getImage(base).inspect().catch(ignoreMissing);
    let found = await here();
    if (!found) {
        progress(`pulling ${base}`);
        try {
            // the Debian-based Citus images are for amd64 only: an engine of another architecture emulates them
            await pull(docker, base, undefined, progress).catch((error: Error) => {
                if (!/no matching manifest/.test(error.message)) throw error;
                return pull(docker, base, "linux/amd64", progress);
            });
        } catch (error) {
            throw new Error(
                `The base image ${base} can't be had: ${wordsOf(error as Error)}\n` +
                    "No container was made or replaced. Choose one that exists (citus:citusVersion, or citus:image). One in a private registry has to be pulled first: docker pull.",
            );
        }
        found = await here();
    }
    if (!found) throw new Error(`The base image ${base} was pulled, and the engine does not have it.`);
    return `${found.Os}/${found.Architecture}`;
}
