// Starts fauxqs on the loopback interface: its own command listens on all of them.
import { buildApp } from "fauxqs";

const port = Number(process.argv[2]);
await buildApp({ logger: false }).listen({ host: "127.0.0.1", port });
