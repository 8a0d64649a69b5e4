/** Of the socket below a node's run directory. */
export const operatorSocketName = 'operator.sock';
