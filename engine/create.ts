/** Tensors from host values: leaves of the graph. The data is copied at the call. */
import { getDefaultDevice } from './device/device.ts'
import type { Device } from './device/device.ts'
import { hostArray, isFloat, narrowed } from './dtype.ts'
import type { DType, TypedArray } from './dtype.ts'
import { DTypeError, ShapeError, refuseOthers } from './error.ts'
import { Node, Tensor } from './graph.ts'
import type { Leaf, Spec } from './graph.ts'
import type { LeafOp } from './op.ts'
import { checkShape, formatShape, sizeOf } from './shape.ts'
import type { Shape } from './shape.ts'

export type NestedArray = number | boolean | readonly NestedArray[]
export type HostData = NestedArray | ArrayLike<number> | TypedArray

export interface CreateOptions {
  readonly dtype?: DType
  readonly device?: Device
}

function leafOp(name: string): LeafOp {
  return { kind: 'leaf', name, shape: () => [] }
}

const ops = { scalar: leafOp('scalar'), data: leafOp('data'), cell: leafOp('variable'), stored: leafOp('stored'), placeholder: leafOp('placeholder') }

/** A leaf of the graph. */
export function leafTensor(device: Device, leaf: Leaf, shape: Shape, dtype: DType): Tensor {
  return leafOf(device, leaf, [{ shape, dtype }])
}

/** The same, for who keeps the list of its one spec. */
export function leafOf(device: Device, leaf: Leaf, outputs: readonly Spec[]): Tensor {
  const op = ops[leaf.kind]
  device.assertOpen(op.name)
  return new Tensor(new Node(device, op, nothing, noAttributes, outputs, leaf))
}

const nothing: readonly Tensor[] = []
const noAttributes = {}

/** A number as a tensor of shape []: data of the plan, never part of generated code. */
export function scalar(value: number, { dtype = 'f32', device = getDefaultDevice('scalar'), ...others }: CreateOptions = {}): Tensor {
  refuseOthers('scalar', others)
  if (typeof value !== 'number') throw new DTypeError(`scalar: ${String(value)} is not a number`)
  checkFits('scalar', value, dtype)
  if (!device.supports(dtype)) throw new DTypeError(`scalar: device ${device.name} has no ${dtype}; use f32`)
  return leafTensor(device, { kind: 'scalar', value: narrowed(value, dtype) }, [], dtype)
}

/** An integer type takes integers within its range only: nothing is rounded or wrapped silently. */
export function checkFits(op: string, value: number, dtype: DType): void {
  if (isFloat(dtype)) return
  const [low, high] = dtype === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] : dtype === 'u32' ? [0, 2 ** 32 - 1] : dtype === 'u8' ? [0, 255] : [0, 1]
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new DTypeError(`${op}: ${value} is not a ${dtype} value (integers from ${low} to ${high}); use a number in range, or cast the tensor to f32 first`)
  }
}

function isTyped(data: HostData): data is TypedArray {
  return ArrayBuffer.isView(data)
}

function shapeOfNested(data: NestedArray | ArrayLike<number>): number[] {
  if (typeof data !== 'object') return []
  const first = data[0]
  const inner = first === undefined ? [] : shapeOfNested(first)
  for (let i = 1; i < data.length; i++) {
    const other = data[i]
    const shape = other === undefined ? [] : shapeOfNested(other)
    if (shape.length !== inner.length || shape.some((d, k) => d !== inner[k])) {
      throw new ShapeError(`tensor: nested arrays are ragged: element 0 has shape ${formatShape(inner)} but element ${i} has ${formatShape(shape)}; make all rows equally long`)
    }
  }
  return [data.length, ...inner]
}

function flatten(data: NestedArray | ArrayLike<number>, into: number[]): number[] {
  if (typeof data !== 'object') into.push(Number(data))
  else for (let i = 0; i < data.length; i++) flatten(data[i] ?? 0, into)
  return into
}

function inferDtype(data: HostData): DType {
  if (data instanceof Int32Array) return 'i32'
  if (data instanceof Uint32Array) return 'u32'
  if (data instanceof Uint8Array) return 'u8'
  let probe: HostData | undefined = data
  while (typeof probe === 'object' && !isTyped(probe)) probe = probe[0]
  return typeof probe === 'boolean' ? 'bool' : 'f32'
}

/** Copies `data` into an array of `dtype`, checking the range of integers. */
export function toHostArray(op: string, data: ArrayLike<number>, dtype: DType): TypedArray {
  const array = hostArray(dtype, data.length)
  if (isFloat(dtype) || data.constructor === array.constructor) {
    if (dtype === 'bool') for (let i = 0; i < data.length; i++) checkFits(op, data[i] ?? 0, dtype)
    array.set(data)
    return dtype === 'bf16' || dtype === 'f16' ? array.map((x) => narrowed(x, dtype)) : array
  }
  for (let i = 0; i < data.length; i++) {
    const value = data[i] ?? 0
    checkFits(op, value, dtype)
    array[i] = value
  }
  return array
}

/**
 * A tensor of host data, copied now. Nested arrays give their own shape; flat data takes `shape`.
 * The dtype is f32 for numbers, bool for booleans, and a typed array's own, unless given.
 * Throws ShapeError for ragged arrays and wrong lengths, DTypeError for values an integer type cannot hold.
 */
export function tensor(data: HostData, shape?: Shape | null, { dtype, device = getDefaultDevice('tensor'), ...others }: CreateOptions = {}): Tensor {
  refuseOthers('tensor', others)
  if (data === null || data === undefined) throw new ShapeError(`tensor: data is ${String(data)}; pass a number, an array or a typed array`)
  const type = dtype ?? inferDtype(data)
  if (!device.supports(type)) throw new DTypeError(`tensor: device ${device.name} has no ${type}; use f32`)
  const nested = typeof data === 'object' && !isTyped(data)
  const own = nested || typeof data !== 'object' ? shapeOfNested(data) : [data.length]
  const flat = nested || typeof data !== 'object' ? flatten(data, []) : data
  const full = checkShape('tensor', shape ?? own)
  if (sizeOf(full) !== flat.length) throw new ShapeError(`tensor: shape ${formatShape(full)} holds ${sizeOf(full)} elements but the data has ${flat.length}; pass as many values as the shape holds`)
  return leafTensor(device, { kind: 'data', data: toHostArray('tensor', flat, type) }, full, type)
}
