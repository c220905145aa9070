/** Matrix products. One primitive over equal batches; broadcasting and vectors are movement around it. */
import { ShapeError } from '../error.ts'
import type { Tensor, TensorLike } from '../graph.ts'
import { apply } from '../op.ts'
import type { Primitive } from '../op.ts'
import { at, broadcastShapes, formatShape, sameShape, sizeOf } from '../shape.ts'
import { cast } from './elementwise.ts'
import { expand, permute, reshape } from './movement.ts'
import { floatType, productType } from './operands.ts'

/** [...batch, M, K] · [...batch, K, N] → [...batch, M, N]; the batches are equal. */
export const matmulOp: Primitive<readonly [a: Tensor, b: Tensor], object, 'matmul'> = {
  kind: 'primitive',
  name: 'matmul',
  shape([a, b]) {
    const [rank, dtype] = [a.shape.length, floatType('matmul', { a, b })]
    const batch = a.shape.slice(0, -2)
    if (rank < 2 || b.shape.length !== rank || a.shape[rank - 1] !== b.shape[rank - 2] || !sameShape(batch, b.shape.slice(0, -2))) {
      throw new ShapeError(`matmul: ${formatShape(a.shape)} and ${formatShape(b.shape)} are not [...batch,M,K] and [...batch,K,N]; expand the batches and match the inner sizes`)
    }
    return { shape: [...batch, at(a.shape, rank - 2), at(b.shape, rank - 1)], dtype }
  },
  // dA = dY·Bᵀ, dB = Aᵀ·dY
  vjp: (dy, [a, b]) => [() => apply(matmulOp, [dy, transposeLast(b)]), () => apply(matmulOp, [transposeLast(a), dy])],
}

/** The last two axes exchanged: a view. */
export function transposeLast(x: Tensor): Tensor {
  return permute(x, x.shape.map((_, i) => (i < x.rank - 2 ? i : 2 * x.rank - 3 - i)))
}

/**
 * The matrix product a · b as in PyTorch: [..., M, K] · [..., K, N] → [..., M, N], leading axes broadcast, and a vector
 * counts as a row on the left and as a column on the right, whose axis the result leaves out.
 * Throws ShapeError for inner sizes that differ or batches that do not broadcast, DTypeError for integers.
 */
export function matmul(a: TensorLike, b: TensorLike): Tensor {
  return product('matmul', a, b)
}

function product(op: string, x: TensorLike, y: TensorLike): Tensor {
  const dtype = productType(op, { a: x, b: y })
  const [columns, rows] = [x.shape.at(-1), y.shape.at(-2) ?? y.shape.at(-1)]
  if (columns === undefined || rows === undefined) throw new ShapeError(`${op}: ${formatShape(x.shape)} and ${formatShape(y.shape)} need an axis each to contract; multiply scalars with mul`)
  if (columns !== rows) {
    throw new ShapeError(`${op}: a has ${columns} columns but b has ${rows} rows (a ${formatShape(x.shape)}, b ${formatShape(y.shape)}); the last axis of a must equal the ${y.shape.length === 1 ? 'only' : 'second to last'} axis of b`)
  }
  const a = x.shape.length === 1 ? reshape(cast(x, dtype), [1, columns]) : cast(x, dtype)
  const b = y.shape.length === 1 ? reshape(cast(y, dtype), [rows, 1]) : cast(y, dtype)
  const z = batched(op, a, b)
  const leftOut = [...(x.shape.length === 1 ? [z.rank - 2] : []), ...(y.shape.length === 1 ? [z.rank - 1] : [])]
  return reshape(z, z.shape.filter((_, i) => !leftOut.includes(i)))
}

function batched(op: string, a: Tensor, b: Tensor): Tensor {
  const [m, k, n] = [at(a.shape, a.rank - 2), at(b.shape, b.rank - 2), at(b.shape, b.rank - 1)]
  // One matrix on the right: the batch of a is more rows of one product, and the gradient of b one product too.
  if (b.rank === 2) return reshape(apply(matmulOp, [reshape(a, [sizeOf(a.shape.slice(0, -1)), k]), b]), [...a.shape.slice(0, -1), n])
  const batch = broadcastShapes(op, a.shape.slice(0, -2), b.shape.slice(0, -2))
  return apply(matmulOp, [expand(a, [...batch, m, k]), expand(b, [...batch, k, n])])
}
