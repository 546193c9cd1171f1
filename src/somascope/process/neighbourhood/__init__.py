"""Filters that look at the voxels around each voxel, on torch tensors."""
