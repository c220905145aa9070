/** What layers check of the numbers they are made with, before any variable is drawn. */
import { ConfigError } from '../engine/index.ts'
import { refuseOthers } from '../engine/error.ts'
import type { LayerOptions } from './module.ts'

/** How many of `count` things one of equal groups has; ConfigError where they do not divide. */
export function share(op: string, what: string, count: number, groups: number): number {
  if (!Number.isInteger(groups) || groups < 1 || count % groups !== 0) throw new ConfigError(`${op}: ${count} ${what} do not divide into ${groups} groups; choose groups that divide ${count}`)
  return count / groups
}

/** Throws ConfigError if what is left of a layer's own options are others than those of every layer. */
export function checkPlace(op: string, { dtype: _, device: __, generator: ___, ...others }: LayerOptions): void {
  refuseOthers(op, others)
}
