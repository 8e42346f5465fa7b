import { createServer } from "node:net";

/** Whether a port of 127.0.0.1 can be listened on, or why not. */
function listen(port: number): Promise<string | undefined> {
    return new Promise((resolve) => {
        const server = createServer();
        server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
        server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(undefined)));
    });
}

/** Whether nothing listens on a port of 127.0.0.1, and this process may. */
export const isFree = async (port: number): Promise<boolean> => (await listen(port)) === undefined;

/** Whether something listens on a port of 127.0.0.1. A port below 1024 can be free for Docker and not for this process. */
export const isTaken = async (port: number): Promise<boolean> => (await listen(port)) === "EADDRINUSE";
