/**
 * A WebAssembly assembler: expressions are nested arrays of bytes, made by functions named after
 * the instructions, and a `ModuleBuilder` turns functions into a module.
 * Encoding: WebAssembly core specification 2.0, section 5, with the SIMD and threads proposals.
 */

/** Bytes of an instruction sequence; nested so that composing expressions copies nothing. A local stands for its value. */
export type Code = Local | readonly (number | Code)[]

/** What has a known scalar type: a number is a constant of it. */
export type Value = Code | number

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128'
const typeByte = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const

/** A local variable or parameter of the function under construction. */
export interface Local {
  readonly index: number
  readonly type: ValueType
}

/** What most numbers in code are; made once, as generators write a hundred thousand of them. */
const bytesAlone: readonly (readonly number[])[] = Array.from({ length: 128 }, (_, i) => [i])

/** Unsigned LEB128. */
export function unsigned(value: number): readonly number[] {
  const alone = bytesAlone[value]
  if (alone !== undefined) return alone
  const bytes: number[] = []
  let rest = value >>> 0
  do {
    const byte = rest & 0x7f
    rest >>>= 7
    bytes.push(rest === 0 ? byte : byte | 0x80)
  } while (rest !== 0)
  return bytes
}

/** Signed LEB128 of a 32-bit integer. */
export function signed(value: number): readonly number[] {
  const alone = value < 64 ? bytesAlone[value] : undefined
  if (alone !== undefined) return alone
  const bytes: number[] = []
  let rest = value | 0
  for (;;) {
    const byte = rest & 0x7f
    rest >>= 7
    if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
      bytes.push(byte)
      return bytes
    }
    bytes.push(byte | 0x80)
  }
}

const floatView = new DataView(new ArrayBuffer(4))

function floatBytes(value: number): Code {
  floatView.setFloat32(0, value, true)
  return [0, 1, 2, 3].map((i) => floatView.getUint8(i))
}

/** Offset in bytes added to the address of a load or a store; alignment is only a hint. */
function memarg(offset: number): Code {
  return offset === 0 ? noOffset : [0, unsigned(offset)]
}
const noOffset: Code = [0, 0]

const simd = (opcode: number): Code => [0xfd, unsigned(opcode)]

type Unary = (x: Code) => Code
type Binary = (x: Code, y: Code) => Code
type ScalarUnary = (x: Value) => Code
type ScalarBinary = (x: Value, y: Value) => Code
/** By a count of bits. */
type Shift = (x: Code, count: Value) => Code
type Ternary = (x: Code, y: Code, z: Code) => Code
type Load = (address: Code, offset?: number) => Code
type Store = (address: Code, value: Code, offset?: number) => Code
type ScalarStore = (address: Code, value: Value, offset?: number) => Code
type LaneAccess = (address: Code, vector: Code, lane: number, offset?: number) => Code
type Extract = (x: Code, lane: number) => Code
type Replace = (x: Code, lane: number, value: Code) => Code

type Opcode = number | Code
const unary = (opcode: Opcode): Unary => (x) => [x, opcode]
const binary = (opcode: Opcode): Binary => (x, y) => [x, y, opcode]
const ternary = (opcode: Opcode): Ternary => (x, y, z) => [x, y, z, opcode]
const load = (opcode: Opcode): Load => (address, offset = 0) => [address, opcode, memarg(offset)]
const store = (opcode: Opcode): Store => (address, value, offset = 0) => [address, value, opcode, memarg(offset)]
const laneAccess = (opcode: number): LaneAccess => (address, vector, lane, offset = 0) => [address, vector, simd(opcode), memarg(offset), lane]

const int = (x: Value): Code => (typeof x === 'number' ? [0x41, signed(x)] : x)
const float = (x: Value): Code => (typeof x === 'number' ? [0x43, floatBytes(x)] : x)
const intBinary = (opcode: number): ScalarBinary => (x, y) => [int(x), int(y), opcode]
const intStore = (opcode: number): ScalarStore => (address, value, offset = 0) => [address, int(value), opcode, memarg(offset)]
const shift = (opcode: number): Shift => (x, count) => [x, int(count), simd(opcode)]

const floatBinary = (opcode: number): ScalarBinary => (x, y) => [float(x), float(y), opcode]

/** `x` in a local of `type`: a number is a constant, in all four lanes of a vector. */
function valueOf(type: ValueType, x: Value): Code {
  if (typeof x !== 'number') return x
  switch (type) {
    case 'i32': return int(x)
    case 'f32': return float(x)
    case 'v128': return v128.splatF32(x)
    case 'i64': case 'f64': throw new TypeError(`assembler: no constants of ${type} here`)
  }
}

export const set = (local: Local, value: Value): Code => [valueOf(local.type, value), 0x21, unsigned(local.index)]
export const tee = (local: Local, value: Value): Code => [valueOf(local.type, value), 0x22, unsigned(local.index)]

export const i32: Readonly<
  Record<'load' | 'load8u' | 'load16u', Load>
  & Record<'store' | 'store8' | 'store16', ScalarStore>
  & Record<'eqz' | 'reinterpretF32' | 'wrapI64', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'ltu' | 'gt'  | 'le' | 'leu' | 'ge' | 'geu' | 'add' | 'sub' | 'mul' | 'div' | 'divu' | 'rem' | 'remu' | 'and' | 'or' | 'xor' | 'shl' | 'shr' | 'shru', ScalarBinary>
  & { const(value: number): Code }
> = {
  const: int,
  load: load(0x28), store: intStore(0x36), load8u: load(0x2d), load16u: load(0x2f), store8: intStore(0x3a), store16: intStore(0x3b),
  eqz: unary(0x45), eq: intBinary(0x46), ne: intBinary(0x47), lt: intBinary(0x48), ltu: intBinary(0x49), gt: intBinary(0x4a),
  le: intBinary(0x4c), leu: intBinary(0x4d), ge: intBinary(0x4e), geu: intBinary(0x4f),
  add: intBinary(0x6a), sub: intBinary(0x6b), mul: intBinary(0x6c), div: intBinary(0x6d), divu: intBinary(0x6e), rem: intBinary(0x6f), remu: intBinary(0x70),
  and: intBinary(0x71), or: intBinary(0x72), xor: intBinary(0x73), shl: intBinary(0x74), shr: intBinary(0x75), shru: intBinary(0x76),
  reinterpretF32: unary(0xbc), wrapI64: unary(0xa7),
}

export const i64: Readonly<
  Record<'load', Load>
  & Record<'store', Store>
  & Record<'extendU', Unary>
  & Record<'add' | 'mul' | 'and' | 'or' | 'xor' | 'shl' | 'shru' | 'lt', Binary>
> = {
  load: load(0x29), store: store(0x37), add: binary(0x7c), mul: binary(0x7e), and: binary(0x83), shru: binary(0x88), extendU: unary(0xad),
  lt: binary(0x53), or: binary(0x84), xor: binary(0x85), shl: binary(0x86),
}

export const f32: Readonly<
  Record<'load', Load>
  & Record<'store', ScalarStore>
  & Record<'neg' | 'reinterpretI32' | 'demoteF64', Unary>
  & Record<'ne' | 'add' | 'sub' | 'mul' | 'div' | 'max', ScalarBinary>
  & { const(value: number): Code }
> = {
  const: float,
  load: load(0x2a), store: (address, value, offset = 0) => [address, float(value), 0x38, memarg(offset)],
  ne: floatBinary(0x5c), add: floatBinary(0x92), sub: floatBinary(0x93), mul: floatBinary(0x94), div: floatBinary(0x95), max: floatBinary(0x97),
  neg: unary(0x8c), reinterpretI32: unary(0xbe), demoteF64: unary(0xb6),
}

export const f64: { readonly const: (value: number) => Code; readonly mul: Binary; readonly convertI64: Unary } = {
  const: (value) => [0x44, [...new Uint8Array(new Float64Array([value]).buffer)]], mul: binary(0xa2), convertI64: unary(0xb9),
}

export const v128: Readonly<
  Record<'load' | 'load32Splat' | 'load32Zero' | 'load64Zero' | 'load16x4u', Load>
  & Record<'store', Store>
  & Record<'load32Lane' | 'store32Lane' | 'load8Lane' | 'store8Lane' | 'load16Lane' | 'store16Lane' | 'store64Lane', LaneAccess>
  & Record<'not' | 'anyTrue', Unary>
  & Record<'and' | 'andnot' | 'or' | 'xor', Binary>
  & Record<'select', Ternary>
  & { const(bytes: readonly number[]): Code; splatF32(value: number): Code }
> = {
  const: (bytes: readonly number[]): Code => [simd(12), bytes],
  /** All four lanes hold the f32 `value`. */
  splatF32(value: number): Code {
    const lane = floatBytes(value)
    return [simd(12), [lane, lane, lane, lane]]
  },
  load: load(simd(0)), store: store(simd(11)),
  load16x4u: load(simd(4)), load32Splat: load(simd(9)), load32Zero: load(simd(92)), load64Zero: load(simd(93)),
  load32Lane: laneAccess(86), store32Lane: laneAccess(90), load8Lane: laneAccess(84), store8Lane: laneAccess(88), load16Lane: laneAccess(85), store16Lane: laneAccess(89), store64Lane: laneAccess(91),
  not: unary(simd(77)), and: binary(simd(78)), andnot: binary(simd(79)), or: binary(simd(80)), xor: binary(simd(81)),
  /** Bits of `x` where `mask` is set, of `y` elsewhere. */
  select: ternary(simd(82)),
  anyTrue: unary(simd(83)),
}

export const f32x4: Readonly<
  Record<'splat' | 'ceil' | 'floor' | 'trunc' | 'nearest' | 'abs' | 'neg' | 'sqrt' | 'convertI32' | 'convertI32u', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge' | 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'pmin' | 'pmax', Binary>
  & Record<'relaxedMadd', Ternary>
  & { extract: Extract; replace: Replace }
> = {
  splat: unary(simd(19)),
  extract: (x: Code, lane: number): Code => [x, simd(31), lane],
  replace: (x: Code, lane: number, value: Code): Code => [x, value, simd(32), lane],
  eq: binary(simd(65)), ne: binary(simd(66)), lt: binary(simd(67)), gt: binary(simd(68)), le: binary(simd(69)), ge: binary(simd(70)),
  ceil: unary(simd(103)), floor: unary(simd(104)), trunc: unary(simd(105)), nearest: unary(simd(106)),
  abs: unary(simd(224)), neg: unary(simd(225)), sqrt: unary(simd(227)),
  add: binary(simd(228)), sub: binary(simd(229)), mul: binary(simd(230)), div: binary(simd(231)),
  min: binary(simd(232)), max: binary(simd(233)), pmin: binary(simd(234)), pmax: binary(simd(235)),
  convertI32: unary(simd(250)), convertI32u: unary(simd(251)),
  /** x·y + z; relaxed SIMD: fused where the processor can, else rounded twice. */
  relaxedMadd: ternary(simd(0x105)),
}

export const i32x4: Readonly<
  Record<'abs' | 'neg' | 'truncSatF32' | 'truncSatF32u' | 'extendLowI16u', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'ltu' | 'le' | 'leu' | 'add' | 'sub' | 'mul' | 'min' | 'minu' | 'max' | 'maxu', Binary>
  & Record<'shl' | 'shr' | 'shru', Shift>
  & { splat: ScalarUnary; extract: Extract; replace: Replace }
> = {
  splat: (x) => [int(x), simd(17)],
  extract: (x: Code, lane: number): Code => [x, simd(27), lane],
  replace: (x: Code, lane: number, value: Code): Code => [x, value, simd(28), lane],
  eq: binary(simd(55)), ne: binary(simd(56)), lt: binary(simd(57)), ltu: binary(simd(58)),
  le: binary(simd(61)), leu: binary(simd(62)),
  abs: unary(simd(160)), neg: unary(simd(161)),
  shl: shift(171), shr: shift(172), shru: shift(173),
  add: binary(simd(174)), sub: binary(simd(177)), mul: binary(simd(181)),
  min: binary(simd(182)), minu: binary(simd(183)), max: binary(simd(184)), maxu: binary(simd(185)),
  truncSatF32: unary(simd(248)), truncSatF32u: unary(simd(249)),
  extendLowI16u: unary(simd(169)),
}

export const i16x8: { readonly extendLowI8u: Unary; readonly narrowI32u: Binary } = {
  extendLowI8u: unary(simd(137)),
  /** Eight signed 32-bit lanes to unsigned 16 bits, saturating. */
  narrowI32u: binary(simd(134)),
}
export const i8x16: { readonly narrowI16u: Binary } = { narrowI16u: binary(simd(102)) }
export const i64x2: Readonly<
  Record<'splat', Unary>
  & Record<'mul' | 'add', Binary>
  & Record<'shru' | 'shl', Shift>
  & { extract: Extract; replace: Replace }
> = {
  extract: (x: Code, lane: number): Code => [x, simd(29), lane],
  replace: (x: Code, lane: number, value: Code): Code => [x, value, simd(30), lane],
  mul: binary(simd(213)), add: binary(simd(206)), shru: shift(205), shl: shift(203),
  splat: unary(simd(18)),
}

export const f64x2: Readonly<Record<'promoteLow' | 'demote' | 'truncSatI32', Unary> & Record<'add' | 'sub' | 'mul' | 'div' | 'pmin' | 'pmax', Binary>> = {
  add: binary(simd(240)), sub: binary(simd(241)), mul: binary(simd(242)), div: binary(simd(243)), pmin: binary(simd(246)), pmax: binary(simd(247)),
  /** The two lower f32 lanes as f64. */
  promoteLow: unary(simd(95)),
  /** To the two lower lanes, f32 or saturated i32; the upper ones are zero. */
  demote: unary(simd(94)), truncSatI32: unary(simd(252)),
}

/** local += by */
export const advance = (local: Local, by: Value): Code => set(local, i32.add(local, by))

/** `condition ? x : y` without a branch, for scalars. */
export const select = (x: Code, y: Code, condition: Code): Code => [x, y, condition, 0x1b]

/**
 * What a vector holds after a loop, to be stored: a value of its own. V8 stores the lower half of a pair once more alone, and that of one that a
 * loop carries would leave the loop beside the pair: see docs/cpu.md.
 */
export const settled = (vector: Local): Code => v128.or(vector, vector)

/**
 * Whether a comes before b: numbers with a sign or addresses, which have none and reach 4 GiB, but less than 2³¹ apart. Sums that are
 * compared may pass the largest number.
 */
const before = (a: Value, b: Value): Code => i32.lt(i32.sub(a, b), 0)

/** The one that comes before the other; both are computed twice. */
export const minimum = (a: Value, b: Value): Code => select(int(a), int(b), before(a, b))

/** Code that runs if `condition` is not zero. */
export function when(condition: Code, then: Code, otherwise?: Code): Code {
  return [condition, 0x04, 0x40, then, otherwise === undefined ? [] : [0x05, otherwise], 0x0b]
}

/** A loop whose body runs while `condition` holds, tested before each round. */
export function loopWhile(condition: Code, body: Code): Code {
  return [0x02, 0x40, 0x03, 0x40, condition, 0x45, 0x0d, 1, body, 0x0c, 0, 0x0b, 0x0b]
}

/** A loop whose body runs once, then again while `condition` holds. */
export function doWhile(body: Code, condition: Code): Code {
  return [0x03, 0x40, body, condition, 0x0d, 0, 0x0b]
}

/** `for (i = from; i < to; i += step) body`, for numbers or addresses: see `before`. */
export function loopRange(i: Local, from: Value, to: Value, step: number, body: Code): Code {
  return [set(i, from), loopWhile(before(i, to), [body, advance(i, step)])]
}

/** One function: parameters first, then locals as they are asked for. */
export class FunctionBuilder {
  readonly parameters: readonly Local[]
  private readonly locals: ValueType[] = []
  private readonly code: Code[] = []

  constructor(parameters: readonly ValueType[]) {
    this.parameters = parameters.map((type, index) => ({ index, type }))
  }

  /** A new local, zero at the start of the function. */
  local(type: ValueType): Local {
    this.locals.push(type)
    return { index: this.parameters.length + this.locals.length - 1, type }
  }

  emit(...code: readonly Code[]): void {
    this.code.push(...code)
  }

  body(): Code {
    const declarations = this.locals.map((type) => [1, typeByte[type]])
    return [unsigned(declarations.length), declarations, this.code, 0x0b]
  }

  signature(): Code {
    return [0x60, unsigned(this.parameters.length), this.parameters.map((p) => typeByte[p.type]), 0]
  }
}

/** Bytes under construction, in memory that grows. */
class Writer {
  private bytes: Uint8Array<ArrayBuffer> = new Uint8Array(4096)
  private length = 0

  write(code: number | Code): void {
    if (typeof code === 'number') {
      if (this.length === this.bytes.length) this.grow()
      this.bytes[this.length++] = code
    } else if ('index' in code) this.write([0x20, unsigned(code.index)])
    else for (let i = 0; i < code.length; i++) this.write(code[i] ?? 0)
  }

  private grow(): void {
    const larger = new Uint8Array(2 * this.bytes.length)
    larger.set(this.bytes)
    this.bytes = larger
  }

  /** What `content` writes, after its length: LEB128 of always five bytes, which are there before the length is known. */
  sized(content: () => void): void {
    const at = this.length
    this.write([0x80, 0x80, 0x80, 0x80, 0])
    content()
    const size = this.length - at - 5
    for (let i = 0; i < 5; i++) this.bytes[at + i] = ((size >>> (7 * i)) & 0x7f) | (i < 4 ? 0x80 : 0)
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.length)
  }
}

const text = (value: string): number[] => {
  const bytes = [...new TextEncoder().encode(value)]
  return [...unsigned(bytes.length), ...bytes]
}

export interface MemoryImport {
  /** Imported as `env.memory`. */
  readonly shared: boolean
  /** Pages of 64 KiB. */
  readonly maximum: number
}

/** Encodes functions as one module that imports `env.memory` and exports each function by name. */
export function encodeModule(functions: ReadonlyMap<string, FunctionBuilder>, memory: MemoryImport): Uint8Array<ArrayBuffer> {
  const out = new Writer()
  const section = (id: number, content: () => void): void => {
    out.write(id)
    out.sized(content)
  }
  const list = (id: number, items: readonly Code[]): void => section(id, () => out.write([unsigned(items.length), items]))
  const names = [...functions.keys()]
  const builders = [...functions.values()]
  out.write([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
  list(1, builders.map((f) => f.signature()))
  list(2, [[text('env'), text('memory'), 2, memory.shared ? 3 : 1, 0, unsigned(memory.maximum)]])
  list(3, names.map((_, i) => unsigned(i)))
  list(7, names.map((name, i) => [text(name), 0, unsigned(i)]))
  section(10, () => {
    out.write(unsigned(builders.length))
    for (const f of builders) out.sized(() => out.write(f.body()))
  })
  return out.finish()
}

/** The same module with a name on it, in a custom section. Engines keep compiled modules by their bytes: this keeps apart what is to be compiled in two ways. */
export function markModule(module: Uint8Array<ArrayBuffer>, mark: string): Uint8Array<ArrayBuffer> {
  const name = text(mark)
  const section = [0, ...unsigned(name.length), ...name]
  const marked = new Uint8Array(module.length + section.length)
  marked.set(module)
  marked.set(section, module.length)
  return marked
}
