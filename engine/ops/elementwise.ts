/** The elementwise rows: each op's scalar expression and derivative, with dtype promotion and broadcasting in front. */
import { binary, choose, constant, unary } from '../../kernels/ir/expression.ts'
import type { BinaryOp, Expression, ScalarType, UnaryOp } from '../../kernels/ir/expression.ts'
import { checkFits, leafTensor } from '../create.ts'
import { getDefaultDevice } from '../device/device.ts'
import type { Device } from '../device/device.ts'
import { isFloat, narrowed, promote } from '../dtype.ts'
import type { DType } from '../dtype.ts'
import { DTypeError } from '../error.ts'
import type { Spec, Tensor, TensorLike } from '../graph.ts'
import { apply, applyOn } from '../op.ts'
import type { Elementwise } from '../op.ts'
import { broadcastShapes, sameShape } from '../shape.ts'
import { expand } from './movement.ts'

/** A number written inside an op's definition: structure, which the compiler may simplify. Users' numbers never are. */
export class Literal {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}
export const literal = (value: number): Literal => new Literal(value)

export type Operand = TensorLike | number | Literal

/** The type in which a value of `dtype` is computed. */
export function scalarType(dtype: DType): ScalarType {
  return isFloat(dtype) ? 'f32' : dtype === 'u8' ? 'u32' : dtype === 'i32' || dtype === 'u32' || dtype === 'bool' ? dtype : 'f32'
}

export const literalOp: Elementwise<readonly [], { value: number; dtype: DType }> = {
  kind: 'elementwise',
  name: 'literal',
  shape: (_, { dtype }) => ({ shape: [], dtype }),
  expression: (_, { value, dtype }) => constant(narrowed(value, dtype), scalarType(dtype)),
}

export const isTensor = (x: Operand | undefined): x is TensorLike => typeof x === 'object' && !(x instanceof Literal)

function lift(op: string, x: Operand, dtype: DType, device: Device): Tensor {
  if (x instanceof Literal) return applyOn(device, literalOp, { value: x.value, dtype })
  if (typeof x === 'number') {
    checkFits(op, x, dtype)
    return leafTensor(device, { kind: 'scalar', value: narrowed(x, dtype) }, [], dtype)
  }
  return cast(x, dtype)
}

/** Operands in their common type and shape; numbers take the tensors' type. `floats`: integers become f32. */
export function unify(op: string, operands: readonly Operand[], floats = false): Tensor[] {
  const [x, y] = operands
  // The usual case, without the lists.
  if (operands.length === 2 && isTensor(x) && isTensor(y) && x.dtype === y.dtype && sameShape(x.shape, y.shape) && !(floats && !isFloat(x.dtype))) return [x.read(), y.read()]
  const tensors = operands.filter(isTensor)
  const common = tensors.reduce<DType | undefined>((type, x) => (type === undefined ? x.dtype : promote(op, type, x.dtype)), undefined) ?? 'f32'
  const dtype = floats && !isFloat(common) ? 'f32' : common
  const device = tensors[0]?.device ?? getDefaultDevice(op)
  const shape = broadcastShapes(op, ...tensors.map((x) => x.shape))
  return operands.map((x) => expand(lift(op, x, dtype, device), shape))
}

const sameAsFirst = (inputs: readonly Spec[]): Spec => {
  const [x] = inputs
  if (x === undefined) throw new RangeError('an elementwise op without inputs has its own shape rule')
  return x
}

export type UnaryRow = Elementwise<readonly [Tensor]>
export type BinaryRow = Elementwise<readonly [Tensor, Tensor]>
type UnaryVjp = (dy: Tensor, x: Tensor, y: Tensor) => Tensor
type BinaryVjp = (dy: Tensor, x: Tensor, y: Tensor, out: Tensor) => readonly [Tensor | undefined, Tensor | undefined]

/** A row y = op(x). */
export function unaryRow(name: UnaryOp, vjp?: UnaryVjp): UnaryRow {
  return {
    kind: 'elementwise',
    name,
    shape: sameAsFirst,
    expression: ([x]) => unary(name, given(x)),
    ...(vjp === undefined ? {} : { vjp: (dy: Tensor, [x]: readonly [Tensor], y: Tensor) => [vjp(dy, x, y)] }),
  }
}

/** A row z = op(x, y); comparisons come out as bool. */
export function binaryRow(name: BinaryOp, vjp?: BinaryVjp, output: (x: Spec) => Spec = (x) => x): BinaryRow {
  return {
    kind: 'elementwise',
    name,
    shape: (inputs) => output(sameAsFirst(inputs)),
    expression: ([x, y]) => binary(name, given(x), given(y)),
    ...(vjp === undefined ? {} : { vjp: (dy: Tensor, [x, y]: readonly [Tensor, Tensor], out: Tensor) => vjp(dy, x, y, out) }),
  }
}

/** Expressions are built with as many arguments as the op has inputs. */
export function given(x: Expression | undefined): Expression {
  if (x === undefined) throw new RangeError('an elementwise expression got too few arguments')
  return x
}

export const castOp: Elementwise<readonly [Tensor], { dtype: DType }> = {
  kind: 'elementwise',
  name: 'cast',
  converts: true,
  shape: ([x], { dtype }) => ({ shape: x.shape, dtype }),
  expression: ([x], { dtype }) => (given(x).type === scalarType(dtype) ? given(x) : unary('cast', given(x), scalarType(dtype))),
  vjp: (dy, [x]) => [isFloat(x.dtype) ? cast(dy, x.dtype) : undefined],
}

/** The values of `x` as another dtype: floats to integers truncate and saturate (NaN to 0), anything to bool is ≠ 0. */
export function cast(x: TensorLike, dtype: DType): Tensor {
  return x.dtype === dtype ? x.read() : apply(castOp, [x], { dtype })
}

const boolean = (x: Spec): Spec => ({ shape: x.shape, dtype: 'bool' })

export const addOp: BinaryRow = binaryRow('add', (dz) => [dz, dz])
export const subOp: BinaryRow = binaryRow('sub', (dz) => [dz, neg(dz)])
export const mulOp: BinaryRow = binaryRow('mul', (dz, x, y) => [mul(dz, y), mul(dz, x)])
export const divOp: BinaryRow = binaryRow('div', (dz, _, y, z) => [div(dz, y), neg(mul(dz, div(z, y)))])
export const negOp: UnaryRow = unaryRow('neg', (dy) => neg(dy))

/** A row of two operands in their common type and shape. `floats`: integers become f32. */
export function arithmetic(op: BinaryRow, x: Operand, y: Operand, floats = false): Tensor {
  return apply(op, unify(op.name, floats ? [x, y] : [x, y].map((v) => (isTensor(v) ? widen(v) : v)), floats))
}

/** bool and u8 are for storage and masks: arithmetic on them is i32. */
export const widen = (x: TensorLike): Tensor => (x.dtype === 'bool' || x.dtype === 'u8' ? cast(x, 'i32') : x.read())

/** Integers become f32; floats stay what they are. */
export const floating = (x: TensorLike): Tensor => (isFloat(x.dtype) ? x.read() : cast(x, 'f32'))

/** Any operand as a tensor in the type and on the device of `like`; numbers have shape []. */
export const operandLike = (op: string, x: Operand, like: TensorLike): Tensor => lift(op, x, like.dtype, like.device)

/** x + y. Bools and u8 count as i32. */
export function add(x: Operand, y: Operand): Tensor {
  return arithmetic(addOp, x, y)
}
/** x − y. */
export function sub(x: Operand, y: Operand): Tensor {
  return arithmetic(subOp, x, y)
}
/** x · y. */
export function mul(x: Operand, y: Operand): Tensor {
  return arithmetic(mulOp, x, y)
}
/** x / y; integers divided are f32. */
export function div(x: Operand, y: Operand): Tensor {
  return arithmetic(divOp, x, y, true)
}
/** −x. */
export function neg(x: TensorLike): Tensor {
  return apply(negOp, [widen(x)])
}

export const eqOp: BinaryRow = binaryRow('eq', undefined, boolean)
export const neOp: BinaryRow = binaryRow('ne', undefined, boolean)
export const ltOp: BinaryRow = binaryRow('lt', undefined, boolean)
export const leOp: BinaryRow = binaryRow('le', undefined, boolean)

const compare = (op: BinaryRow, x: Operand, y: Operand): Tensor => apply(op, unify(op.name, [x, y]))

/** x = y, as bool. */
export function equal(x: Operand, y: Operand): Tensor {
  return compare(eqOp, x, y)
}
/** x ≠ y, as bool; NaN differs from itself. */
export function notEqual(x: Operand, y: Operand): Tensor {
  return compare(neOp, x, y)
}
/** x < y, as bool. */
export function less(x: Operand, y: Operand): Tensor {
  return compare(ltOp, x, y)
}
/** x ≤ y, as bool. */
export function lessEqual(x: Operand, y: Operand): Tensor {
  return compare(leOp, x, y)
}
/** x > y, as bool. */
export function greater(x: Operand, y: Operand): Tensor {
  return compare(ltOp, y, x)
}
/** x ≥ y, as bool. */
export function greaterEqual(x: Operand, y: Operand): Tensor {
  return compare(leOp, y, x)
}

export const whereOp: Elementwise<readonly [Tensor, Tensor, Tensor]> = {
  kind: 'elementwise',
  name: 'where',
  shape: ([_, x]) => ({ shape: x.shape, dtype: x.dtype }),
  expression: ([c, x, y]) => choose(given(c), given(x), given(y)),
  vjp: (dy, [c]) => [undefined, where(c, dy, literal(0)), where(c, literal(0), dy)],
}

/** x where `condition` (bool) holds, y elsewhere; all three broadcast. The value not chosen sends no gradient, not even NaN. */
export function where(condition: TensorLike, x: Operand, y: Operand): Tensor {
  if (condition.dtype !== 'bool') throw new DTypeError(`where: condition is ${condition.dtype}; compare first, such as notEqual(condition, 0)`)
  const [a, b] = unify('where', [x, y].every((v) => !isTensor(v)) ? [onDevice(x, condition), y] : [x, y])
  if (a === undefined || b === undefined) throw new RangeError('where: two values')
  const shape = broadcastShapes('where', condition.shape, a.shape)
  return apply(whereOp, [expand(condition, shape), expand(a, shape), expand(b, shape)])
}

/** Two numbers still need a device: the condition's. */
const onDevice = (x: Operand, condition: TensorLike): Operand => (isTensor(x) ? x : lift('where', x, 'f32', condition.device))
