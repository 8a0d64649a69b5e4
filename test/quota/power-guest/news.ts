export type NewsKind =
  | 'ready'
  | 'failed'
  | 'made'
  | 'filled'
  | 'used'
  | 'captured'
  | 'recycling'
  | 'recycled'
  | 'deleting'
  | 'deleted';

/** What the machine whose power goes says of a volume or snapshot, as a line on its console. */
export interface PowerNews {
  readonly kind: NewsKind;
  readonly id: string;
}

export const powerPrefix = 'LOAM-POWER ';
