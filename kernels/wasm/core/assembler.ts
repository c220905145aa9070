/**
 * A WebAssembly assembler: expressions are nested arrays of bytes, made by functions named after
 * the instructions, and a `ModuleBuilder` turns functions into a module.
 * Encoding: WebAssembly core specification 2.0, section 5, with the SIMD and threads proposals.
 */

/** Bytes of an instruction sequence; nested so that composing expressions copies nothing. */
export type Code = number | readonly Code[]

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
type Ternary = (x: Code, y: Code, z: Code) => Code
type Load = (address: Code, offset?: number) => Code
type Store = (address: Code, value: Code, offset?: number) => Code
type LaneAccess = (address: Code, vector: Code, lane: number, offset?: number) => Code
type Extract = (x: Code, lane: number) => Code
type Replace = (x: Code, lane: number, value: Code) => Code

const unary = (opcode: Code): Unary => (x) => [x, opcode]
const binary = (opcode: Code): Binary => (x, y) => [x, y, opcode]
const ternary = (opcode: Code): Ternary => (x, y, z) => [x, y, z, opcode]
const load = (opcode: Code): Load => (address, offset = 0) => [address, opcode, memarg(offset)]
const store = (opcode: Code): Store => (address, value, offset = 0) => [address, value, opcode, memarg(offset)]
const laneAccess = (opcode: number): LaneAccess => (address, vector, lane, offset = 0) => [address, vector, simd(opcode), memarg(offset), lane]

export const get = (local: Local): Code => [0x20, unsigned(local.index)]
export const set = (local: Local, value: Code): Code => [value, 0x21, unsigned(local.index)]
export const tee = (local: Local, value: Code): Code => [value, 0x22, unsigned(local.index)]

export const i32: Readonly<
  Record<'load' | 'load8u' | 'load16u', Load>
  & Record<'store' | 'store8' | 'store16', Store>
  & Record<'eqz' | 'truncSatF32' | 'reinterpretF32' | 'wrapI64', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'ltu' | 'gt' | 'gtu' | 'le' | 'leu' | 'ge' | 'geu' | 'add' | 'sub' | 'mul' | 'div' | 'divu' | 'rem' | 'remu' | 'and' | 'or' | 'xor' | 'shl' | 'shr' | 'shru', Binary>
  & { const(value: number): Code }
> = {
  const: (value: number): Code => [0x41, signed(value)],
  load: load(0x28), store: store(0x36), load8u: load(0x2d), load16u: load(0x2f), store8: store(0x3a), store16: store(0x3b),
  eqz: unary(0x45), eq: binary(0x46), ne: binary(0x47), lt: binary(0x48), ltu: binary(0x49), gt: binary(0x4a), gtu: binary(0x4b),
  le: binary(0x4c), leu: binary(0x4d), ge: binary(0x4e), geu: binary(0x4f),
  add: binary(0x6a), sub: binary(0x6b), mul: binary(0x6c), div: binary(0x6d), divu: binary(0x6e), rem: binary(0x6f), remu: binary(0x70),
  and: binary(0x71), or: binary(0x72), xor: binary(0x73), shl: binary(0x74), shr: binary(0x75), shru: binary(0x76),
  truncSatF32: unary([0xfc, 0]), reinterpretF32: unary(0xbc), wrapI64: unary(0xa7),
}

export const i64: Readonly<
  Record<'load', Load>
  & Record<'store', Store>
  & Record<'extendU' | 'extend', Unary>
  & Record<'add' | 'mul' | 'and' | 'or' | 'xor' | 'shl' | 'shru' | 'lt' | 'ltu', Binary>
> = {
  load: load(0x29), store: store(0x37), add: binary(0x7c), mul: binary(0x7e), and: binary(0x83), shru: binary(0x88), extendU: unary(0xad), extend: unary(0xac),
  lt: binary(0x53), ltu: binary(0x54), or: binary(0x84), xor: binary(0x85), shl: binary(0x86),
}

export const f32: Readonly<
  Record<'load', Load>
  & Record<'store', Store>
  & Record<'abs' | 'neg' | 'ceil' | 'floor' | 'trunc' | 'nearest' | 'sqrt' | 'convertI32' | 'convertI32u' | 'reinterpretI32' | 'demoteF64', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'gt' | 'le' | 'ge' | 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max', Binary>
  & { const(value: number): Code }
> = {
  const: (value: number): Code => [0x43, floatBytes(value)],
  load: load(0x2a), store: store(0x38),
  eq: binary(0x5b), ne: binary(0x5c), lt: binary(0x5d), gt: binary(0x5e), le: binary(0x5f), ge: binary(0x60),
  abs: unary(0x8b), neg: unary(0x8c), ceil: unary(0x8d), floor: unary(0x8e), trunc: unary(0x8f), nearest: unary(0x90), sqrt: unary(0x91),
  add: binary(0x92), sub: binary(0x93), mul: binary(0x94), div: binary(0x95), min: binary(0x96), max: binary(0x97),
  convertI32: unary(0xb2), convertI32u: unary(0xb3), reinterpretI32: unary(0xbe), demoteF64: unary(0xb6),
}

export const f64: { readonly const: (value: number) => Code; readonly mul: Binary; readonly convertI64: Unary } = {
  const: (value) => [0x44, [...new Uint8Array(new Float64Array([value]).buffer)]], mul: binary(0xa2), convertI64: unary(0xb9),
}

export const v128: Readonly<
  Record<'load' | 'load8Splat' | 'load16Splat' | 'load32Splat' | 'load32Zero' | 'load64Zero' | 'load64Splat' | 'load16x4u', Load>
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
  load8Splat: load(simd(7)), load16Splat: load(simd(8)), load16x4u: load(simd(4)),
  load32Splat: load(simd(9)), load32Zero: load(simd(92)), load64Zero: load(simd(93)), load64Splat: load(simd(10)),
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
  Record<'splat' | 'abs' | 'neg' | 'allTrue' | 'truncSatF32' | 'truncSatF32u' | 'extendLowI16u', Unary>
  & Record<'eq' | 'ne' | 'lt' | 'ltu' | 'gt' | 'gtu' | 'le' | 'leu' | 'ge' | 'geu' | 'shl' | 'shr' | 'shru' | 'add' | 'sub' | 'mul' | 'min' | 'minu' | 'max' | 'maxu', Binary>
  & { extract: Extract; replace: Replace }
> = {
  splat: unary(simd(17)),
  extract: (x: Code, lane: number): Code => [x, simd(27), lane],
  replace: (x: Code, lane: number, value: Code): Code => [x, value, simd(28), lane],
  eq: binary(simd(55)), ne: binary(simd(56)), lt: binary(simd(57)), ltu: binary(simd(58)), gt: binary(simd(59)), gtu: binary(simd(60)),
  le: binary(simd(61)), leu: binary(simd(62)), ge: binary(simd(63)), geu: binary(simd(64)),
  abs: unary(simd(160)), neg: unary(simd(161)), allTrue: unary(simd(163)),
  shl: binary(simd(171)), shr: binary(simd(172)), shru: binary(simd(173)),
  add: binary(simd(174)), sub: binary(simd(177)), mul: binary(simd(181)),
  min: binary(simd(182)), minu: binary(simd(183)), max: binary(simd(184)), maxu: binary(simd(185)),
  truncSatF32: unary(simd(248)), truncSatF32u: unary(simd(249)),
  extendLowI16u: unary(simd(169)),
}

export const i16x8: Readonly<
  Record<'extendLowI8u', Unary>
  & Record<'narrowI32u', Binary>
> = {
  extendLowI8u: unary(simd(137)),
  /** Eight signed 32-bit lanes to unsigned 16 bits, saturating. */
  narrowI32u: binary(simd(134)),
}
export const i8x16: { readonly narrowI16u: Binary } = { narrowI16u: binary(simd(102)) }
export const i64x2: Readonly<
  Record<'splat' | 'extendLowI32u' | 'extendHighI32u', Unary>
  & Record<'mul' | 'add' | 'shru' | 'shl', Binary>
  & { extract: Extract; replace: Replace }
> = {
  extract: (x: Code, lane: number): Code => [x, simd(29), lane],
  replace: (x: Code, lane: number, value: Code): Code => [x, value, simd(30), lane],
  mul: binary(simd(213)), add: binary(simd(206)), shru: binary(simd(205)), shl: binary(simd(203)),
  splat: unary(simd(18)), extendLowI32u: unary(simd(201)), extendHighI32u: unary(simd(202)),
}

export const f64x2: Readonly<Record<'promoteLow' | 'demote' | 'truncSatI32', Unary> & Record<'add' | 'sub' | 'mul' | 'div' | 'pmin' | 'pmax', Binary>> = {
  add: binary(simd(240)), sub: binary(simd(241)), mul: binary(simd(242)), div: binary(simd(243)), pmin: binary(simd(246)), pmax: binary(simd(247)),
  /** The two lower f32 lanes as f64. */
  promoteLow: unary(simd(95)),
  /** To the two lower lanes, f32 or saturated i32; the upper ones are zero. */
  demote: unary(simd(94)), truncSatI32: unary(simd(252)),
}

/** `condition ? x : y` without a branch, for scalars. */
export const select = (x: Code, y: Code, condition: Code): Code => [x, y, condition, 0x1b]

/**
 * What a vector holds after a loop, to be stored: a value of its own. V8 stores the lower half of a pair once more alone, and that of one that a
 * loop carries would leave the loop beside the pair: see docs/cpu.md.
 */
export const settled = (vector: Local): Code => v128.or(get(vector), get(vector))

/**
 * Whether a comes before b: numbers with a sign or addresses, which have none and reach 4 GiB, but less than 2³¹ apart. Sums that are
 * compared may pass the largest number.
 */
const before = (a: Code, b: Code): Code => i32.lt(i32.sub(a, b), i32.const(0))

/** The one that comes before the other; both are computed twice. */
export const minimum = (a: Code, b: Code): Code => select(a, b, before(a, b))

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
export function loopRange(i: Local, from: Code, to: Code, step: number, body: Code): Code {
  return [set(i, from), loopWhile(before(get(i), to), [body, set(i, i32.add(get(i), i32.const(step)))])]
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

  write(code: Code): void {
    if (typeof code === 'number') {
      if (this.length === this.bytes.length) this.grow()
      this.bytes[this.length++] = code
    } else for (let i = 0; i < code.length; i++) this.write(code[i] ?? 0)
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
