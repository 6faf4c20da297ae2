// One stay in a room: the sound card on one side, a link to the relay on the
// other, Opus by WebCodecs between them.

import { SocketLink, TransportLink, Trouble } from './links.js';

const RATE = 48000;
const FRAME = 960;
const LABEL = 4;
const HEADER = 12;
const FLOOR = -100; // dBFS, of silence
const STREAMS = 8;  // one sender's, when it stands for several
const FAR = 200;    // packets between two streams of one sender
const QUIET = 3000; // ms until a stream that has stopped is forgotten
const REPORT = 50;  // packets between two quality reports, a second
const BITRATES = { Opus6k: 12000, Opus16k: 16000, Opus24k: 24000, Opus32k: 32000, Opus48k: 48000, Opus64k: 64000 };

const CODECS = { 12000: 1, 16000: 1, 24000: 0, 32000: 6, 48000: 7, 64000: 8 }; // of the media header

// check throws what keeps this browser out, in words.
export async function check() {
  if (!isSecureContext) {
    throw new Trouble('This page is not in a secure context',
      'Browsers give microphone and codecs to pages from https:// or from http://localhost only. '
      + 'Open it as http://localhost, or let a TLS proxy stand before the relay.');
  }
  if (!('AudioEncoder' in globalThis) || !('AudioDecoder' in globalThis)) {
    throw new Trouble('This browser has no WebCodecs', 'It cannot encode Opus. Chromium 94, Firefox 130 or Safari 26 and their successors can.');
  }
  const opus = { codec: 'opus', sampleRate: RATE, numberOfChannels: 1 };
  const [enc, dec] = await Promise.all([AudioEncoder.isConfigSupported({ ...opus, bitrate: 24000 }), AudioDecoder.isConfigSupported(opus)]);
  if (!enc.supported || !dec.supported) throw new Trouble('This browser has no Opus', 'Its WebCodecs lack the codec that rooms speak.');
}

function level(analyser, wave) {
  analyser.getFloatTimeDomainData(wave);
  let sum = 0;
  for (const v of wave) sum += v * v;
  return Math.max(FLOOR, 10 * Math.log10(sum / wave.length + 1e-12));
}

function peak(analyser) {
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  let at = 1;
  for (let i = 2; i < bins.length - 1; i++) if (bins[i] > bins[at]) at = i;
  const [a, b, c] = [bins[at - 1], bins[at], bins[at + 1]];
  const bend = a - 2 * b + c;
  const shift = bend ? (a - c) / (2 * bend) : 0; // of the parabola through the three
  return (at + shift) * RATE / analyser.fftSize;
}

function analyse(ctx) {
  const node = new AnalyserNode(ctx, { fftSize: 4096, smoothingTimeConstant: 0 });
  return { node, wave: new Float32Array(2048), level() { return level(node, this.wave); }, peak() { return peak(node); } };
}

// Stream is one run of sequence numbers of one sender.
class Stream {
  constructor(voice, seq) {
    this.voice = voice;
    this.next = seq;
    this.decoder = new AudioDecoder({
      output: (data) => {
        const pcm = new Float32Array(data.numberOfFrames);
        data.copyTo(pcm, { planeIndex: 0, format: 'f32-planar' });
        data.close();
        this.node.port.postMessage(pcm, [pcm.buffer]);
      },
      error: () => { this.broken = true; },
    });
    this.decoder.configure({ codec: 'opus', sampleRate: RATE, numberOfChannels: 1 });
    this.node = new AudioWorkletNode(voice.ctx, 'playout', { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => { this.buffer = data; };
    this.node.connect(voice.meter.node);
  }

  take(seq, opus) {
    const ahead = (seq - this.next) << 16 >> 16;
    if (ahead < 0) {
      this.voice.late++;
      return;
    }
    if (ahead > 0) {
      this.voice.lost += ahead;
      const missing = new Float32Array(Math.min(ahead, 3) * FRAME); // keeps the time of what follows
      this.node.port.postMessage(missing, [missing.buffer]);
    }
    this.next = (seq + 1) & 0xffff;
    const now = performance.now();
    if (this.at) this.voice.jitter += (Math.min(Math.abs(now - this.at - 20 * (ahead + 1)), 1000) - this.voice.jitter) / 16;
    this.at = now;
    if (this.decoder.decodeQueueSize > 25) { // half a second: this machine does not keep up
      this.voice.lost++;
      return;
    }
    this.decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: Math.round(this.at * 1000), data: opus }));
  }

  end() {
    this.node.port.postMessage('end');
    this.node.disconnect();
    if (this.decoder.state !== 'closed') this.decoder.close();
  }
}

// Voice is one sender, as the relay labels it. Label 0 stands for everybody at
// other relays: their streams are told apart by their numbers.
class Voice {
  constructor(ctx, out, id) {
    Object.assign(this, { ctx, id, packets: 0, bytes: 0, lost: 0, late: 0, jitter: 0, streams: [] });
    this.meter = analyse(ctx);
    this.meter.node.connect(out);
  }

  take(seq, opus) {
    this.packets++;
    this.bytes += opus.length;
    let s = this.streams.find((x) => Math.abs((seq - x.next) << 16 >> 16) < FAR);
    if (s?.broken) {
      this.drop(s);
      s = null;
    }
    if (!s) {
      const now = performance.now();
      for (const old of this.streams.filter((x) => this.id !== 0 || now - x.at > QUIET)) this.drop(old);
      if (this.streams.length >= STREAMS) this.drop(this.streams[0]);
      s = new Stream(this, seq);
      this.streams.push(s);
    }
    s.take(seq, opus);
  }

  drop(s) {
    this.streams.splice(this.streams.indexOf(s), 1);
    s.end();
  }

  end() {
    for (const s of this.streams) s.end();
    this.streams = [];
    this.meter.node.disconnect();
  }
}

export class Talk {
  constructor(settings) {
    this.settings = settings;
    this.voices = new Map();
    this.people = [];
    this.you = 0;
    this.muted = false;
    this.sent = this.sentBytes = this.skipped = 0;
    // Not from 0: at other relays voices are told apart by their numbers alone.
    this.first = Math.floor(Math.random() * 0x10000);
    this.onchange = this.onend = this.onnote = () => {};
  }

  // open joins; it throws a Trouble.
  async open() {
    await check();
    try {
      const ctx = this.ctx = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
      await Promise.all([ctx.audioWorklet.addModule('worklets.js'), ctx.resume()]);
      this.out = new GainNode(ctx);
      this.out.connect(ctx.destination);
      await this.listen();
      await this.connect();
    } catch (err) {
      this.close();
      throw err;
    }
  }

  // listen opens what is to be sent.
  async listen() {
    const { ctx, settings } = this;
    this.meter = analyse(ctx);
    if (settings.source === 'none') return;
    let from;
    if (settings.source === 'tone') {
      from = new OscillatorNode(ctx, { frequency: 440 });
      from.start();
    } else {
      try {
        this.mic = await navigator.mediaDevices.getUserMedia({
          audio: settings.plain ? { echoCancellation: false, noiseSuppression: false, autoGainControl: false }
            : { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
        });
      } catch (err) {
        if (err.name === 'NotAllowedError') throw new Trouble('The microphone is not allowed', 'Allow it for this page in the browser, or choose to listen only.');
        if (err.name === 'NotFoundError') throw new Trouble('There is no microphone', 'Connect one, or choose the test tone or to listen only.');
        throw new Trouble('The microphone cannot be opened', `${err.message}. Another program may hold it.`);
      }
      from = new MediaStreamAudioSourceNode(ctx, { mediaStream: this.mic });
    }
    const gain = new GainNode(ctx, { gain: settings.source === 'tone' ? 0.25 : 1, channelCount: 1, channelCountMode: 'explicit' });
    const capture = new AudioWorkletNode(ctx, 'capture', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    from.connect(gain);
    gain.connect(this.meter.node);
    gain.connect(capture);
    this.encoder = new AudioEncoder({
      output: (chunk) => this.send(chunk),
      error: (err) => this.fail(new Trouble('The encoder failed', err.message)),
    });
    this.tune(settings.bitrate || 24000);
    let at = 0;
    capture.port.onmessage = ({ data }) => {
      if (this.muted || this.encoder.state !== 'configured') return;
      if (this.encoder.encodeQueueSize > 10) {
        this.skipped++;
        return;
      }
      const frame = new AudioData({ format: 'f32', sampleRate: RATE, numberOfFrames: FRAME, numberOfChannels: 1, timestamp: at, data });
      at += 20000;
      this.encoder.encode(frame);
      frame.close();
    };
  }

  // tune sets the encoder to a bit rate.
  tune(bitrate) {
    if (!this.encoder || this.bitrate === bitrate) return;
    this.bitrate = bitrate;
    this.encoder.configure({
      codec: 'opus', sampleRate: RATE, numberOfChannels: 1, bitrate,
      opus: { format: 'opus', application: this.settings.source === 'tone' ? 'audio' : 'voip', frameDuration: 20000, useinbandfec: true, packetlossperc: 5 },
    });
  }

  send(chunk) {
    if (!this.link || this.link.over) return;
    const opus = new Uint8Array(chunk.byteLength);
    chunk.copyTo(opus);
    const report = this.sent % REPORT === REPORT - 1 ? this.report() : [];
    const packet = new Uint8Array(HEADER + opus.length + report.length);
    const view = new DataView(packet.buffer);
    view.setUint8(0, (CODECS[this.bitrate] ?? 0) << 2 | (report.length ? 2 : 0));
    view.setUint16(2, (this.first + this.sent) & 0xffff);
    view.setUint32(4, chunk.timestamp / 1000);
    packet.set(opus, HEADER);
    packet.set(report, HEADER + opus.length);
    this.sent++;
    this.sentBytes += packet.length;
    this.link.send(packet);
  }

  // report is how we have heard the others since the last one: loss, round trip,
  // jitter and a cap, a byte each.
  report() {
    let [came, lost, jitter] = [0, 0, 0];
    for (const v of this.voices.values()) {
      came += v.packets;
      lost += v.lost;
      jitter = Math.max(jitter, v.jitter);
    }
    const [d, l] = [came - (this.told?.came ?? 0), lost - (this.told?.lost ?? 0)];
    this.told = { came, lost };
    const loss = d + l > 0 && l > 0 && d >= 0 ? 255 * l / (d + l) : 0;
    return [loss, (this.link.rtt ?? 0) / 4, jitter, 200].map((v) => Math.max(0, Math.min(255, Math.floor(v))));
  }

  async connect() {
    const { way } = this.settings;
    const ways = way === 'ws' ? [SocketLink] : way === 'wt' ? [TransportLink] : [TransportLink, SocketLink];
    for (const [i, Way] of ways.entries()) {
      const link = new Way();
      link.onmedia = (b) => this.media(b);
      link.ontext = (m) => this.text(m);
      link.onend = (trouble) => this.fail(trouble);
      try {
        await link.open(this.settings);
        this.link = link;
        return;
      } catch (err) {
        if (i + 1 === ways.length || /token|refused you/.test(err.message)) throw err;
        if (!/offers no|has no/.test(err.message)) this.onnote(`${err.message}: using WebSocket instead`, err.advice);
      }
    }
  }

  media(b) {
    if (b.length <= LABEL + HEADER) return;
    const view = new DataView(b.buffer, b.byteOffset, b.byteLength);
    const report = view.getUint8(LABEL) & 0x02 ? 4 : 0;
    const opus = b.subarray(LABEL + HEADER, b.length - report);
    if (!opus.length || !this.ctx) return;
    const id = view.getUint32(0);
    let voice = this.voices.get(id);
    if (!voice) {
      voice = new Voice(this.ctx, this.out, id);
      this.voices.set(id, voice);
      this.onchange();
    }
    voice.take(view.getUint16(LABEL + 2), opus);
  }

  text(m) {
    if (m.type === 'voices') {
      this.you = m.you;
      this.people = m.voices;
      const here = new Set(m.voices.map((v) => v.id));
      for (const [id, voice] of this.voices) {
        if (id !== 0 && !here.has(id)) {
          voice.end();
          this.voices.delete(id);
        }
      }
      this.onchange();
    } else if (m.RoomUpdate || m.type === 'RoomUpdate') {
      const update = m.RoomUpdate || m;
      this.elsewhere = (update.participants || []).filter((p) => p.relay_label);
      this.onchange();
    } else if (m.QualityDirective && !this.settings.bitrate) {
      this.tune(BITRATES[m.QualityDirective.recommended_profile?.codec] || 12000);
    }
  }

  set volume(v) { if (this.out) this.out.gain.value = v; }

  // levels are what can be heard now: of each voice, and of us.
  levels() {
    const own = { id: this.you, level: this.encoder && !this.muted ? this.meter.level() : FLOOR };
    return [own, ...[...this.voices.values()].map((v) => ({ id: v.id, level: v.meter.level() }))];
  }

  // stats is everything there is to know, for the page and for tests.
  stats() {
    const voices = [...this.voices.values()].map((v) => ({
      id: v.id, alias: this.people.find((p) => p.id === v.id)?.alias || '', level: v.meter.level(), peak: v.meter.peak(),
      packets: v.packets, bytes: v.bytes, lost: v.lost, late: v.late, streams: v.streams.length, buffer: v.streams.at(-1)?.buffer,
    }));
    return {
      way: this.link?.name, you: this.you, people: this.people, elsewhere: this.elsewhere?.length || 0, muted: this.muted, bitrate: this.bitrate,
      own: this.meter ? { level: this.meter.level(), peak: this.meter.peak() } : null,
      first: this.first, sent: this.sent, sentBytes: this.sentBytes, unsent: (this.link?.unsent || 0) + this.skipped, voices,
    };
  }

  fail(trouble) {
    this.close();
    this.onend(trouble);
  }

  close() {
    this.link?.close();
    for (const v of this.voices.values()) v.end();
    this.voices.clear();
    if (this.encoder && this.encoder.state !== 'closed') this.encoder.close();
    this.mic?.getTracks().forEach((t) => t.stop());
    this.ctx?.close().catch(() => {});
    this.ctx = null;
  }
}
