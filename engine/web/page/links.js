// The two ways to the relay. Both carry the protocol wzp.voice: media packets
// up, labelled media packets down, JSON for everything else. A link calls
// onmedia(Uint8Array), ontext(object) and, once, onend(Trouble).

export class Trouble extends Error {
  constructor(title, advice) {
    super(title);
    this.advice = advice;
  }
}

const PATIENCE = 8000; // ms for a connection and its greeting
const BACKLOG = 16384; // bytes not yet sent, above which sound is old

// greeted hears what the relay says: we are in when it tells who else is, since
// a greeting may yet be followed by a refusal.
function greeted(link) {
  return (m) => {
    if (m.type === 'auth_error') link.fail(refusal(m.error));
    else if (m.type !== 'auth_ok') link.ontext(m);
    if (m.type === 'voices') link.in();
  };
}

function refusal(why) {
  if (/token/i.test(why)) {
    return new Trouble('The relay wants a token', `It says: ${why}. Enter a valid token below “Token, microphone and way in”.`);
  }
  return new Trouble('The relay refused you', `It says: ${why || 'nothing'}.`);
}

class Link {
  constructor() {
    this.onmedia = this.ontext = this.onend = () => {};
    this.unsent = 0;
    this.over = false;
  }

  // settled waits a little for the connection to say itself why it failed.
  async settled() {}

  open(settings) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.fail(new Trouble('The relay does not answer', `No greeting by ${this.name} within ${PATIENCE / 1000} s.`)), PATIENCE);
      this.in = () => { clearTimeout(timer); this.joined = true; resolve(); };
      this.fail = (trouble) => {
        if (this.over) return;
        clearTimeout(timer);
        this.over = true;
        this.close();
        if (this.joined) this.onend(trouble);
        reject(trouble);
      };
      this.start(settings).catch((err) => this.settled().then(() => err)).then((err) => err && this.fail(err instanceof Trouble ? err : new Trouble(`${this.name} failed`, String(err.message || err))));
    });
  }
}

// SocketLink is a WebSocket: it passes every proxy, and waits for every lost packet.
export class SocketLink extends Link {
  name = 'WebSocket';

  async start({ room, alias, token }) {
    const url = new URL(`ws/${encodeURIComponent(room)}`, location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.search = new URLSearchParams({ alias });
    const ws = this.ws = new WebSocket(url, ['wzp.voice']);
    ws.binaryType = 'arraybuffer';
    const text = greeted(this);
    ws.onopen = () => { if (token) ws.send(JSON.stringify({ type: 'auth', token })); };
    ws.onmessage = ({ data }) => {
      if (typeof data === 'string') text(JSON.parse(data));
      else this.onmedia(new Uint8Array(data));
    };
    ws.onclose = ({ code, reason }) => {
      if (code === 1008) this.fail(refusal(reason));
      else if (this.joined) this.fail(new Trouble('The connection ended', reason || `WebSocket close code ${code}. The relay may have restarted; join again.`));
      else {
        this.fail(new Trouble('The relay refused the connection', 'It does not listen here, or it does not accept pages of this origin '
          + `(${location.origin}: see ws_origins), or too many connections come from your address.`));
      }
    };
  }

  send(packet) {
    if (this.over || this.ws.readyState !== WebSocket.OPEN || this.ws.bufferedAmount > BACKLOG) this.unsent++;
    else this.ws.send(packet);
  }

  close() {
    this.over = true;
    this.ws?.close(1000, 'left');
  }
}

// TransportLink is WebTransport on the relay's own QUIC port: a lost packet
// holds up no other.
export class TransportLink extends Link {
  name = 'WebTransport';

  static async offer() {
    if (!('WebTransport' in globalThis)) throw new Trouble('This browser has no WebTransport', 'Use WebSocket, or another browser.');
    const answer = await fetch('webtransport.json', { cache: 'no-store' });
    if (!answer.ok) throw new Trouble('This relay offers no WebTransport', 'It is switched off there (webtransport = false). Use WebSocket.');
    return answer.json();
  }

  async start({ room, alias, token }) {
    const offer = await TransportLink.offer();
    const url = new URL(`https://${location.hostname}:${offer.port}${offer.path}${encodeURIComponent(room)}`);
    url.search = new URLSearchParams({ alias, protocol: 'wzp.voice' });
    const options = { congestionControl: 'low-latency' };
    if (offer.hashes?.length) {
      options.serverCertificateHashes = offer.hashes.map(({ algorithm, value }) => ({
        algorithm, value: Uint8Array.from(atob(value), (c) => c.charCodeAt(0)),
      }));
    }
    const wt = this.wt = new WebTransport(url, options);
    wt.closed.then(({ reason }) => this.fail(this.joined ? new Trouble('The connection ended', reason || 'The relay closed it; join again.') : refusal(reason)))
      .catch((err) => this.fail(this.joined ? new Trouble('The connection ended', `${err.message || err} The relay may have restarted; join again.`)
        : new Trouble('WebTransport failed', `${err.message || err} UDP port ${offer.port} may be blocked between you and the relay.`)));
    await wt.ready;
    const { readable, writable } = await wt.createBidirectionalStream();
    const first = writable.getWriter();
    await first.write(new TextEncoder().encode(`${JSON.stringify(token ? { type: 'auth', token } : { type: 'hello' })}\n`));
    const out = wt.datagrams.createWritable ? wt.datagrams.createWritable() : wt.datagrams.writable;
    wt.datagrams.outgoingMaxAge = 200;
    wt.datagrams.incomingMaxAge = 200;
    this.out = out.getWriter();
    this.waiting = 0;
    if (wt.getStats) {
      this.clock = setInterval(() => wt.getStats().then((s) => { this.rtt = s.smoothedRtt; }).catch(() => {}), 2000);
    }
    this.lines(readable.pipeThrough(new TextDecoderStream()).getReader(), greeted(this));
    this.datagrams(wt.datagrams.readable.getReader());
  }

  async lines(reader, text) {
    try {
      for (let rest = ''; ;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (rest + value).split('\n');
        rest = parts.pop();
        for (const line of parts) if (line) text(JSON.parse(line));
      }
    } catch { /* closed tells why */ }
  }

  async datagrams(reader) {
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        this.onmedia(value);
      }
    } catch { /* closed tells why */ }
  }

  settled() {
    return Promise.race([this.wt?.closed.catch(() => {}), new Promise((done) => { setTimeout(done, 500); })]);
  }

  send(packet) {
    if (this.over || this.waiting > 8) {
      this.unsent++;
      return;
    }
    this.waiting++;
    this.out.write(packet).catch(() => { this.unsent++; }).finally(() => { this.waiting--; });
  }

  close() {
    this.over = true;
    clearInterval(this.clock);
    try { this.wt?.close({ closeCode: 0, reason: 'left' }); } catch { /* closed already */ }
  }
}
