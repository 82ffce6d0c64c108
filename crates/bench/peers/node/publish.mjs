// The backend's call of the Node servers: a JSON array in the body, answered with 200 when all of it has been emitted.

/** Reads the array in `request`, hands it to `publish`, and answers. */
export function readArray(request, response, publish) {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    let messages;
    try {
      messages = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      messages = null;
    }
    if (!Array.isArray(messages)) {
      response.writeHead(400).end();
      return;
    }
    publish(messages);
    response.writeHead(200, { 'content-length': '2' }).end('{}');
  });
}
