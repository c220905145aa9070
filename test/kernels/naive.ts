/** Descriptors carried out position by position through `evaluate.ts`, on bytes. */
import type { MapDescriptor, Operand, ReduceDescriptor, ReduceOp } from '../../kernels/ir/descriptor.ts'
import { compileExpression } from '../../kernels/ir/evaluate.ts'
import type { ScalarType, StorageType } from '../../kernels/ir/expression.ts'

export const elementBytes: Readonly<Record<StorageType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4, u32: 4, u8: 1, bool: 1 }
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const floatOf = new Float32Array(1)
const bitsOf = new Uint32Array(floatOf.buffer)

function bf16Bits(x: number): number {
  floatOf[0] = x
  const bits = bitsOf[0] ?? 0
  return Number.isNaN(x) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function readElement(bytes: Uint8Array, dtype: StorageType, i: number): number {
  const memory = view(bytes)
  switch (dtype) {
    case 'f32': return memory.getFloat32(4 * i, true)
    case 'f16': return new Float16Array(bytes.buffer, bytes.byteOffset + 2 * i, 1)[0] ?? 0
    case 'i32': return memory.getInt32(4 * i, true)
    case 'u32': return memory.getUint32(4 * i, true)
    case 'u8': return memory.getUint8(i)
    case 'bool': return memory.getUint8(i) === 0 ? 0 : 1
    case 'bf16':
      bitsOf[0] = memory.getUint16(2 * i, true) << 16
      return floatOf[0] ?? 0
  }
}

export function writeElement(bytes: Uint8Array, dtype: StorageType, i: number, value: number): void {
  const memory = view(bytes)
  switch (dtype) {
    case 'f32': return memory.setFloat32(4 * i, value, true)
    case 'f16':
      new Float16Array(bytes.buffer, bytes.byteOffset + 2 * i, 1)[0] = value
      return
    case 'i32': return memory.setInt32(4 * i, value, true)
    case 'u32': return memory.setUint32(4 * i, value, true)
    case 'u8': return memory.setUint8(i, value)
    case 'bool': return memory.setUint8(i, value === 0 ? 0 : 1)
    case 'bf16': return memory.setUint16(2 * i, bf16Bits(value), true)
  }
}

export function* everyPosition(shape: readonly number[]): Generator<readonly number[]> {
  const [size, ...rest] = shape
  if (size === undefined) yield []
  else for (let i = 0; i < size; i++) for (const tail of everyPosition(rest)) yield [i, ...tail]
}

export const elementAt = ({ strides, offset }: Operand, position: readonly number[]): number => position.reduce((sum, p, axis) => sum + p * (strides[axis] ?? 0), offset)
export const existsAt = ({ mask }: Operand, position: readonly number[]): boolean => position.every((p, axis) => p >= (mask?.[axis]?.[0] ?? 0) && p < (mask?.[axis]?.[1] ?? Infinity))
const loader = (inputs: readonly Operand[], buffers: readonly Uint8Array[], position: readonly number[]) => (o: number): number => {
  const [operand, bytes] = [inputs[o], buffers[o]]
  return operand === undefined || bytes === undefined || !existsAt(operand, position) ? 0 : readElement(bytes, operand.dtype, elementAt(operand, position))
}

/** Every operation is rounded to f32, so that kernels can agree in every bit. */
const options = { rounding: Math.fround }

export function naiveMap(d: MapDescriptor, buffers: readonly Uint8Array[]): void {
  const evaluators = d.outputs.map((o) => compileExpression(o.value, options))
  for (const position of everyPosition(d.shape)) {
    const values = evaluators.map((f) => f(loader(d.inputs, buffers, position), (axis) => position[axis] ?? 0, 0))
    d.outputs.forEach(({ operand }, i) => writeElement(buffers[d.inputs.length + i] ?? new Uint8Array(0), operand.dtype, elementAt(operand, position), values[i] ?? 0))
  }
}

const wrap: Readonly<Record<ScalarType, (x: number) => number>> = { f32: (x) => x, i32: (x) => x | 0, u32: (x) => x >>> 0, bool: (x) => x }
const folds: Readonly<Record<ReduceOp, (x: number, y: number) => number>> = { sum: (x, y) => x + y, prod: (x, y) => x * y, max: Math.max, min: Math.min }

function identity(op: ReduceOp, type: ScalarType): number {
  if (op === 'sum') return 0
  if (op === 'prod') return 1
  const [low, high] = type === 'f32' ? [-Infinity, Infinity] : type === 'i32' ? [-2147483648, 2147483647] : [0, type === 'bool' ? 1 : 4294967295]
  return op === 'max' ? low : high
}

/** Folds in float64 from first to last; integers wrap. */
export function naiveReduce(d: ReduceDescriptor, buffers: readonly Uint8Array[]): void {
  const element = compileExpression(d.element, options)
  const evaluators = d.outputs.map((o) => compileExpression(o.value, options))
  const type = d.element.type
  const fold = type === 'f32' || d.op !== 'prod' ? folds[d.op] : Math.imul
  for (const kept of everyPosition(d.shape)) {
    let total = identity(d.op, type)
    for (const reduced of everyPosition(d.reduced)) {
      const position = [...kept, ...reduced]
      total = wrap[type](fold(total, element(loader(d.inputs, buffers, position), (axis) => position[axis] ?? 0, 0)))
    }
    const first = [...kept, ...d.reduced.map(() => 0)]
    const values = evaluators.map((f) => f(loader(d.inputs, buffers, first), (axis) => first[axis] ?? 0, type === 'f32' ? Math.fround(total) : total))
    d.outputs.forEach(({ operand }, i) => writeElement(buffers[d.inputs.length + i] ?? new Uint8Array(0), operand.dtype, elementAt(operand, kept), values[i] ?? 0))
  }
}
