/** What layers check of the numbers they are made with, before any variable is drawn. */
import { ConfigError } from '../engine/index.ts'

/** How many of `count` things one of equal groups has; ConfigError where they do not divide. */
export function share(op: string, what: string, count: number, groups: number): number {
  if (!Number.isInteger(groups) || groups < 1 || count % groups !== 0) throw new ConfigError(`${op}: ${count} ${what} do not divide into ${groups} groups; choose groups that divide ${count}`)
  return count / groups
}
