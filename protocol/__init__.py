"""How two gateways stay in agreement when one of them crashes.

The contents page. A module imports only modules above it, so the package reads from top to bottom:

    errors              refusals, and the documents' error codes as data
    objects             canonical bytes, digests, versions, histories
    signing             keys and signatures

"""
