"""How two gateways stay in agreement when one of them crashes.

The contents page. A module imports only modules above it, so the package reads from top to bottom:

    errors              refusals, and the documents' error codes as data
    rules               the safety rules that can be switched off
    trace               typed events of a run
    objects             canonical bytes, digests, versions, histories
    signing             keys and signatures
    certificates        owner CAs and the certificates of their gateways
    messages/satp       SATP: the messages of stages 1 to 3, errors, abort
    steps               TABLE 1: every step of a transfer
    log                 log entries, their chain, the Log Storage API
    stores              durable stores behind the same API
    ledger              an asset network: acts once, and answers whether it has acted
    session             one transfer as a gateway's log tells it
    negotiation         stage 1: what a recipient accepts in a proposal
    journal             log, act, log: the one way to the disk and to the ledger
    rollback            the way back before the burn: undoing, aborts
    gateway             the corridor: a message arrives; a gateway comes back
    example             the transfer that every notebook moves: the draft's own
    faults              where a gateway can be made to crash
    network             World: two gateways, two networks, the link between, a clock
    views               a transfer to be looked at: messages, log entries and ledgers, step by step
    diagrams            a trace as SVG, Mermaid text and ASCII figure

`python -m protocol` plays a crash in a terminal.
"""
