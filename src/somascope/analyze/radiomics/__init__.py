"""Radiomics: IBSI's features of a region's shape, values and texture.

``analyze.radiomics`` gives them as findings, `extract.features` as numbers of one region.
"""
