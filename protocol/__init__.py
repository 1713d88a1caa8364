"""How two gateways stay in agreement when one of them crashes.

The contents page. A module imports only modules above it, so the package reads from top to bottom:

    errors              refusals, and the documents' error codes as data
    objects             canonical bytes, digests, versions, histories
    signing             keys and signatures
    messages/offchain   LIP-1: what travels between two VASPs
    messages/payments   LIP-1: what one version of a payment may change of the one before
    channel_store       what one side of a channel keeps, in memory or in SQLite
    parties             who is at the two ends: addresses, roles, keys
    resync              what one side shows the other, and what the other makes of it
    commands            the rules by which two parties' commands are sequenced
    outbox              what still has to be answered, and when it is sent again
    channel_recovery    the way back after a loss
    channel             one side of a channel: the command engine

"""
