// A server of Node that has never heard of overseer: it takes descriptor 3, and finishes what it has.
const http = require("http");

const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end("hello\n"));
});
server.listen({ fd: 3 });
process.on("SIGTERM", () => server.close(() => process.exit(0)));
