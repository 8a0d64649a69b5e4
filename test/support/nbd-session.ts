import type { Socket } from 'node:net';

/** Of the NBD protocol. */
const optionMagic = 0x49484156454f5054n; // IHAVEOPT
const replyMagic = 0x0003e889045565a9n;
const transmissionFlags = 0x1 | 0x4 | 0x8; // has flags, takes flush and FUA
const requestBytes = 28;

/** What is served. */
export interface NbdDisk {
  readonly sizeBytes: number;
  read(offset: number, length: number): Buffer;
  write(offset: number, data: Buffer, isDurable: boolean): void;
  flush(): void;
}

/** Serves a disk to one client of the NBD protocol: the fixed new handshake, simple replies, flush and FUA. */
export function serveNbd(socket: Socket, disk: NbdDisk): void {
  const session = new Session(socket, disk);
  socket.on('data', (chunk: Buffer) => session.take(chunk));
}

/** One client's talk: first its options, then its requests, one after the other. */
class Session {
  readonly #socket: Socket;
  readonly #disk: NbdDisk;
  #input: Buffer = Buffer.alloc(0);
  #state: 'flags' | 'options' | 'requests' = 'flags';

  constructor(socket: Socket, disk: NbdDisk) {
    this.#socket = socket;
    this.#disk = disk;
    const hello = Buffer.alloc(18);
    hello.write('NBDMAGICIHAVEOPT', 'latin1');
    hello.writeUInt16BE(3, 16);
    socket.write(hello);
  }

  take(chunk: Buffer): void {
    this.#input = Buffer.concat([this.#input, chunk]);
    while (this.#step());
  }

  /** @returns whether there was enough for one */
  #step(): boolean {
    if (this.#state === 'flags') {
      if (this.#take(4) === undefined) return false;
      this.#state = 'options';
      return true;
    }
    return this.#state === 'options' ? this.#option() : this.#request();
  }

  #option(): boolean {
    if (this.#input.length < 16) return false;
    const length = this.#input.readUInt32BE(12);
    const message = this.#take(16 + length);
    if (message === undefined) return false;
    if (message.readBigUInt64BE(0) !== optionMagic) this.#socket.destroy();
    const option = message.readUInt32BE(8);
    const isGo = option === 7;
    if (isGo || option === 6) {
      const about = Buffer.alloc(12);
      about.writeBigUInt64BE(BigInt(this.#disk.sizeBytes), 2);
      about.writeUInt16BE(transmissionFlags, 10);
      this.#reply(option, 3, about);
      this.#reply(option, 1, Buffer.alloc(0));
      if (isGo) this.#state = 'requests';
    } else {
      // not known here
      this.#reply(option, 0x80000001, Buffer.alloc(0));
    }
    return true;
  }

  #reply(option: number, type: number, data: Buffer): void {
    const header = Buffer.alloc(20);
    header.writeBigUInt64BE(replyMagic, 0);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(type, 12);
    header.writeUInt32BE(data.length, 16);
    this.#socket.write(Buffer.concat([header, data]));
  }

  #request(): boolean {
    if (this.#input.length < requestBytes) return false;
    const type = this.#input.readUInt16BE(6);
    const length = this.#input.readUInt32BE(24);
    const message = this.#take(requestBytes + (type === 1 ? length : 0));
    if (message === undefined) return false;
    const offset = Number(message.readBigUInt64BE(16));
    const isDurable = (message.readUInt16BE(4) & 1) !== 0;
    if (type === 2) {
      this.#socket.end();
      return false;
    }
    if (type === 1) this.#disk.write(offset, message.subarray(requestBytes), isDurable);
    if (type === 3) this.#disk.flush();
    const answer = Buffer.alloc(16);
    answer.writeUInt32BE(0x67446698, 0);
    answer.writeUInt32BE(type > 3 ? 22 : 0, 4); // EINVAL
    message.copy(answer, 8, 8, 16);
    this.#socket.write(type === 0 ? Buffer.concat([answer, this.#disk.read(offset, length)]) : answer);
    return true;
  }

  #take(bytes: number): Buffer | undefined {
    if (this.#input.length < bytes) return undefined;
    const taken = this.#input.subarray(0, bytes);
    this.#input = this.#input.subarray(bytes);
    return taken;
  }
}
