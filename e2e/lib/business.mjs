// A business system that is asked: it keeps the questions, and answers as it is told to.

import http from 'node:http';

export class Business {
  /** What it was asked: `{type, data, headers, raw}`, in order. */
  asked = [];
  /** How it answers: `[status, body]`, or `hang`. */
  answer = () => [200, { allow: true }];

  static async start(t) {
    const business = new Business();
    business.server = http.createServer((request, response) => business.#take(request, response));
    await new Promise((resolve) => business.server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      business.server.close();
      business.server.closeAllConnections();
    });
    return business;
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}/ask`;
  }

  /** Those of one type. */
  of(type) {
    return this.asked.filter((asked) => asked.type === type);
  }

  #take(request, response) {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks);
      const question = JSON.parse(raw);
      this.asked.push({ ...question, headers: request.headers, raw });
      const answer = this.answer(question);
      if (answer === 'hang') return;
      const [status, body] = answer;
      response.writeHead(status, status === 302 ? { location: this.url } : { 'content-type': 'application/json' });
      response.end(Buffer.isBuffer(body) ? body : JSON.stringify(body));
    });
  }
}
